"""The benchmarks by name, for whoever has results and no config."""

from recot.evaluation.suites.base import Benchmark
from recot.evaluation.suites.longvideobench import LongVideoBench
from recot.evaluation.suites.lvbench import LVBench
from recot.evaluation.suites.mlvu import MLVUDev, MLVUTest
from recot.evaluation.suites.needle import NeedleInAHaystack
from recot.evaluation.suites.tempcompass import TempCompass
from recot.evaluation.suites.temporal import CharadesSTA, VStarTemporal
from recot.evaluation.suites.tiny_world import TinyWorld
from recot.evaluation.suites.video_mme import VideoMME
from recot.evaluation.suites.vnbench import VNBench

SUITES: dict[str, type[Benchmark | NeedleInAHaystack]] = {
    suite.name: suite
    for suite in (
        *(TinyWorld, MLVUDev, MLVUTest, VideoMME, LongVideoBench, LVBench, VNBench, TempCompass, CharadesSTA),
        *(VStarTemporal, NeedleInAHaystack),
    )
}
