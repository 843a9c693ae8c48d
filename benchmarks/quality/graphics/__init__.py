"""Pictures that are no photos as files: .fgs beside image formats and lossless files, and when it is the wrong tool.

python -m benchmarks.quality.graphics
"""
