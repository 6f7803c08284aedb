"""Compute the frozen encoder's features once: ``python data_pipelines/cache_features.py experiment=recot_pretrain``.

They land in ``<shard folder>/features`` for every folder of ``data.train`` and ``data.val``; then train with
``data.features=cached``.
"""

import hydra
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from data_pipelines.features import write_features
from recot import run
from recot.data.datamodule import VideoDataModule
from recot.data.dataset import VideoDataset
from recot.data.shards import ShardFolder
from recot.video_io import VideoLimits


@hydra.main(version_base="1.3", config_path="../conf", config_name="cache_features")
def main(cfg: DictConfig) -> None:
    """Compose the config, load the encoder, and write features of all folders."""
    data: VideoDataModule = instantiate(cfg.data)
    data.prepare_data()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = instantiate(cfg.model.vision_encoder).to(device)

    def encode(frames: np.ndarray) -> Tensor:
        return encoder(torch.from_numpy(frames).to(device)).cpu()

    for path in dict.fromkeys([*data.train_paths, *data.val_paths]):
        videos = VideoDataset(
            ShardFolder(path),
            sampling=data.sampling,
            frame_size=data.frame_size,
            limits=VideoLimits(timeout_s=data.timeout_s),
        )
        write_features(videos, encode, encoder=encoder.fingerprint(), dtype=cfg.dtype)


if __name__ == "__main__":
    run.launch(main)
