"""LightningModules: the steps and the logging of training; what they compute lies elsewhere."""

from fastgs.stages.attribute import AttributeStage
from fastgs.stages.autoencoder import AutoencoderStage
from fastgs.stages.finetune import FinetuneStage
from fastgs.stages.position import PositionStage

__all__ = ["AttributeStage", "AutoencoderStage", "FinetuneStage", "PositionStage"]
