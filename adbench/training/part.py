"""A part, described once: its key, its plan, and how it is fetched or made follow from the description."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from adbench.contracts.detector import Images, Runtime
from adbench.contracts.plan import PartPlan, Run
from adbench.storage.saved import Checkpoint, shapes_of
from adbench.storage.spec import PartSpec, changed_fields
from adbench.training.loop import loop_options, train

Size = tuple[int, int]
"""Height and width of the healthy images in pixels."""
Draw = Callable[[torch.Generator], Any]
"""Draws one batch, whatever the loss takes."""


@dataclass(frozen=True)
class Source:
    """What a part is made from."""

    healthy: Images
    runtime: Runtime
    parents: Mapping[str, Any] = field(default_factory=dict)
    """The frozen networks that it is made with, by the names of `Part.parents`; empty while planning."""

    @property
    def size(self) -> Size:
        height, width = self.healthy.shape[-2:]
        return height, width

    def images(self, n: int, generator: torch.Generator) -> Tensor:
        """Return `n` random healthy images (n, 1, H, W) on the device; one may come twice."""
        chosen = torch.randint(len(self.healthy), (n,), generator=generator)
        return self.healthy[chosen.numpy()].to(self.runtime.device)


@dataclass(frozen=True, kw_only=True)
class Part(ABC):
    """A network that is made once from healthy images, and kept in the artifact store."""

    kind: str
    """Says what it is; keys and folders begin with it."""
    version: int
    """Raise it when the same configuration would make another network."""
    config: Any
    """A pydantic model of what decides the network: fields that differ from their defaults are in its key."""
    network: Callable[[Size], nn.Module]
    """Gives the network for images of a size, with fresh weights from the global generator, which is seeded."""
    parents: Mapping[str, Part] = field(default_factory=dict)
    """Name -> the parts that it is made with."""
    exclude: Collection[str] = ()
    """Fields of the config that do not change the network."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What decides it beside the config."""
    check: Callable[[Size], object] = lambda size: None
    """Raises ConfigError where images of a size do not fit."""
    computed: ClassVar[bool] = False
    """Whether it is computed and not trained: its steps are then network passes, and a plan estimates no other."""

    @abstractmethod
    def make(self, net: Any, source: Source, checkpoint: Checkpoint) -> None:
        """Train or compute `net` in place, from the checkpoint where there is one."""

    def steps(self, healthy: Images) -> int:
        """Steps that making it takes, as a plan shows them."""
        return int(self.config.steps)

    def one_step(self, net: Any, source: Source) -> Run:
        """Return a function that takes one step of training with a fresh network, unless the part is `computed`."""
        raise NotImplementedError

    def spec(self, healthy: Images, seed: int) -> PartSpec:
        config = {**changed_fields(self.config, exclude=self.exclude), **self.extra}
        parents = {name: part.spec(healthy, seed).key for name, part in self.parents.items()}
        return PartSpec(self.kind, self.version, config, healthy.fingerprint, seed, parents)

    def fresh(self, size: Size, runtime: Runtime) -> Any:
        """Return the network with fresh weights, which the seed alone decides, on the device."""
        torch.manual_seed(runtime.seed)
        return self.network(size).to(runtime.device)

    def loaded(self, size: Size, runtime: Runtime, tensors: Mapping[str, Tensor]) -> Any:
        """Return the network with these weights, frozen.

        Raises ValueError where they are of another network, before memory is reserved for one.
        """
        _check_fit(self.network, size, tensors)
        return _frozen(self.fresh(size, runtime), tensors)

    def fetch(self, healthy: Images, runtime: Runtime, made: dict[str, Any] | None = None) -> Any:
        """Return the frozen network from the artifact store, making it, and its parents, where it is not there.

        `made` holds networks that are there already, by key, and gets those that are fetched. Raises TrainingError.
        """
        made = {} if made is None else made
        spec = self.spec(healthy, runtime.seed)
        if spec.key not in made:
            size = Source(healthy, runtime).size
            self.check(size)

            def make(checkpoint: Checkpoint) -> dict[str, Tensor]:
                parents = {name: part.fetch(healthy, runtime, made) for name, part in self.parents.items()}
                net = self.fresh(size, runtime)
                self.make(net, Source(healthy, runtime, parents), checkpoint)
                return {name: value.cpu() for name, value in net.state_dict().items()}

            net = self.fresh(size, runtime)
            made[spec.key] = _frozen(net, runtime.store.get(spec, make, shapes_of(net.state_dict())))
        return made[spec.key]

    def plan(self, healthy: Images, runtime: Runtime) -> PartPlan:
        """The part as `--dry-run` shows it."""
        source = Source(healthy, runtime)

        def build() -> tuple[nn.Module, Run]:
            net = self.fresh(source.size, runtime).train()
            return net, self.one_step(net, source)

        spec, steps = self.spec(healthy, runtime.seed), self.steps(healthy)
        return PartPlan(spec, steps, None if self.computed else build, self.computed)


def _check_fit(network: Callable[[Size], nn.Module], size: Size, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError where the network has other tensors than these; it is built without memory for them."""
    left = len(tensors)

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"the network has more than the {len(tensors)} tensors that are there")

    counting = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            wanted = shapes_of(network(size).state_dict())
    except (NotImplementedError, RuntimeError):  # it cannot be built so: what does not fit shows when it is loaded
        return
    finally:
        counting.remove()
    there = shapes_of(tensors)
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) != there.get(name):
            raise ValueError(f"{name} is {there.get(name, 'missing')}, not {wanted.get(name, 'needed')}")


def _frozen(net: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    net.load_state_dict(dict(tensors))
    return net.eval().requires_grad_(False)


@dataclass(frozen=True, kw_only=True)
class TrainedPart(Part):
    """A part that the training loop makes; its config names `steps`, `batch_size` and `learning_rate`."""

    loss: Callable[[Any, Any, torch.Generator], Tensor]
    """loss(net, batch, generator) -> scalar; all its noise is drawn from the generator."""
    title: str = ""
    """What progress and errors call it, and its stream of random numbers; empty: the kind."""
    batches: Callable[[Any, Source], Draw] | None = None
    """Called before the first step with the network, which it may prepare; None: random images as they are."""
    example: Callable[[Source], Any] | None = None
    """A batch for the estimate of a plan, which has no parents; None: noise for images."""
    finish: Callable[[Any, Source], object] = lambda net, source: None
    """Called after the last step; raises TrainingError where the network learned nothing."""
    longest_warmup: int = 200
    """Steps of the warm-up, at most."""

    def make(self, net: Any, source: Source, checkpoint: Checkpoint) -> None:
        draw = self.batches(net, source) if self.batches else lambda g: source.images(self.config.batch_size, g)
        runtime = source.runtime

        def loss_of(step: int, generator: torch.Generator) -> Tensor:
            return self.loss(net, draw(generator), generator)

        options = loop_options(self.title or self.kind, self.config, runtime.seed, self.longest_warmup)
        train(net, loss_of, options, checkpoint, runtime.progress)
        self.finish(net, source)

    def one_step(self, net: Any, source: Source) -> Run:
        n, device = self.config.batch_size, source.runtime.device
        batch = self.example(source) if self.example else torch.rand(n, *source.healthy.shape[1:], device=device)
        return lambda: self.loss(net, batch, torch.Generator().manual_seed(0)).backward()
