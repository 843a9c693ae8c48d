"""LightningModules: the steps and the logging of training, without the computations themselves."""

from fastgs.training.attribute import AttributeStage
from fastgs.training.autoencoder import AutoencoderStage
from fastgs.training.finetune import FinetuneStage
from fastgs.training.pairs import PairDataModule
from fastgs.training.position import PositionStage
from fastgs.training.restoration import RestorationStage
from fastgs.training.symbol_files import SymbolDataModule
from fastgs.training.symbols import SymbolStage
from fastgs.training.zoom import ZoomStage

__all__ = [
    "AttributeStage",
    "AutoencoderStage",
    "FinetuneStage",
    "PairDataModule",
    "PositionStage",
    "RestorationStage",
    "SymbolDataModule",
    "SymbolStage",
    "ZoomStage",
]
