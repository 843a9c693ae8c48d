"""LightningModules: the steps and the logging of training; what they compute lies elsewhere."""

from fastgs.stages.attribute import AttributeStage
from fastgs.stages.finetune import FinetuneStage
from fastgs.stages.position import PositionStage

__all__ = ["AttributeStage", "FinetuneStage", "PositionStage"]
