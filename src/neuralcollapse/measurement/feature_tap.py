"""FeatureTap: what enters and leaves the last linear layer of a network."""

from __future__ import annotations

import math
import warnings
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.at_rest import checked_network
from neuralcollapse.measurement.head import (
    HeadReader,
    explains,
    may_be_head,
    read_head,
    unsharded,
)
from neuralcollapse.measurement.head_candidates import head_candidates, named_head, no_head
from neuralcollapse.measurement.head_choice import choose_head, decides, keeps_confidences, reduced
from neuralcollapse.measurement.head_product import AppliedMatrix, HeardProducts, bare_matrices
from neuralcollapse.measurement.kept_error import KeptError
from neuralcollapse.measurement.layer_call import LayerCall, layer_call
from neuralcollapse.metrics.head import Head


class FeatureTap:
    """Capture the input and output of the head while a network runs; a context manager.

    Whatever the network returns (a tensor, a tuple, a dict), features and logits are taken at the
    head itself. Without `head`, the first forward pass finds it: the one linear layer that explains
    what the network returns (its output, perhaps after softmax or a scale), or what it returns
    under the name `logits`; see `choose_head`. Its weight is read as it is applied, see `Head`. If
    the logits are not :math:`h W^T + b` of any weight that can be read, a warning says so, and
    there is no `weight`. A matrix that the network applies without a layer, such as the weight of
    an embedding, is found likewise, and is named as in ``model.named_parameters()``.

    A head that is applied to every token or pixel gives rows for all of them, (n, T, d) and
    (n, T, K); if the network returns the logits of one token per sample only, as decoders used as
    classifiers do, rows for that token. Nothing is stored in the network: it can be copied and
    pickled inside the context.

    Features that the network changes in place after the head are refused, and logits that it
    changes are computed anew. Changes that torch does not count, through ``.data`` or NumPy, are
    seen in at most about 2^17 numbers, evenly spaced rows of what is larger.

    Parameters
    ----------
    model
        The network.
    head
        The last linear layer, or its name as in ``model.named_modules()``: any module with a
        weight of shape (K, d) that is called with features, or one around linear layers that is
        linear as a whole, such as a low-rank adapter of your own. Or the name, as in
        ``model.named_parameters()``, of a matrix that the network applies without a layer.
    optional
        Whether a network may have no head; see `found`.

    Attributes
    ----------
    name
        Name of the head; empty before it is found, and for a model that is its own head.
    tick
        Position of the last call of the head among all calls that taps have recorded.
    dense
        Whether the last forward pass had several positions per sample, such as tokens.
    confident
        Whether the network returns the logits of the head at their own scale, so that confidences
        can be read from them, judging by the first forward pass.
    decisive
        Whether it returns any that rank the classes alike.

    Raises
    ------
    NeuralCollapseError
        If `head` is not in the model or has no such weight, or hooks on the model would not be
        called; when the network runs, if there is no linear layer, or not exactly one that
        explains its output (all are listed).

    Warns
    -----
    UserWarning
        If the logits do not come from a weight that can be read.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from neuralcollapse import FeatureTap
    >>> model = nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> with FeatureTap(model) as tap:
    ...     _ = model(torch.zeros(7, 5))
    ...     features, logits = tap.take()
    >>> tap.name, features.shape, logits.shape
    ('2', torch.Size([7, 3]), torch.Size([7, 2]))
    """

    def __init__(
        self, model: Any, head: nn.Module | str | None = None, optional: bool = False
    ) -> None:
        self.model = checked_network(model)
        self.name, self.tick, self.dense = "", -1, False
        self.confident = self.decisive = True
        self._optional, self._absent = optional, False
        self._module: nn.Module | None = None
        self._reading: HeadReader | None = None
        self._form: LayerCall | None = None  # of its calls, without rows
        self._scale: float | None = None
        self._calls: list[LayerCall] = []
        self._output: Any = None
        self._failure = KeptError()
        self._heard: dict[nn.Module, str] = {}
        self._listening = ExitStack()
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        whole = isinstance(head, nn.Module)
        matrices = {} if whole else bare_matrices(self.model, head_candidates(self.model))
        if head is not None:
            matrices = {name: matrix for name, matrix in matrices.items() if name == head}
            self.name, self._module = (str(head), None) if matrices else named_head(model, head)
        self._told = head is not None  # the head is given, so that no other is looked for
        heard = self._failure.of(self._multiplied)
        self._products = HeardProducts(matrices, heard) if matrices else None

    @property
    def found(self) -> bool:
        """Whether there is a head, after a forward pass."""
        self._failure.reraise()
        return self._module is not None

    @property
    def head(self) -> nn.Module:
        """The last linear layer."""
        if self._module is None:
            raise _not_yet()
        return self._module

    @property
    def sizes(self) -> tuple[int, int]:
        """K and d."""
        if self._form is None:
            raise _not_yet()
        return self._form.num_classes, self._form.features.shape[-1]

    def read(self) -> Head | None:
        """Return the head with its current weights; None if no weight explains its logits."""
        if self._form is None:
            raise _not_yet()
        if self._reading is None:
            return None
        with unsharded(self.model) as passing:
            head = self._reading(self._form)
            return head.copy() if head is not None and passing else head

    @property
    def weight(self) -> Float[Tensor, "K d"] | None:
        """Weight of the head as it is applied, (K, d), detached; None if `read` gives none."""
        head = self.read()
        return None if head is None else head.weight

    @property
    def bias(self) -> Float[Tensor, " K"] | None:
        """Bias of the head, (K,), detached; None if it has none."""
        head = self.read()
        return None if head is None else head.bias

    def __enter__(self) -> FeatureTap:
        if self._module is not None:
            self._heard = {self._module: self.name}
        else:
            self._heard = {} if self._told else head_candidates(self.model)
        # Hooks on all modules: one in the network would be copied and pickled with it.
        self._hooks = [
            register_module_forward_pre_hook(self._begin),
            register_module_forward_hook(self._end, always_call=True),
            register_module_forward_hook(self._failure.of(self._hear), with_kwargs=True),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._listening.close()  # also in the middle of a forward pass
        self._calls, self._output, self._hooks = [], None, []
        self._failure.reraise(kind)

    def take(self, output: Any = None) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n K"]]:
        """Return (features, logits) of the forward pass since the last call.

        Parameters
        ----------
        output
            What the network returned; what ``model(...)`` returned if omitted.

        Raises
        ------
        NeuralCollapseError
            If the head was not called exactly once, was called at several positions per sample
            whose logits are not what the network returns, or has other weights after its call.
        """
        self._failure.reraise()
        at_rest = output is not None and not torch.is_grad_enabled()
        output, self._output = self._output if output is None else output, None
        if self._module is None and not self._told:
            self._choose(output)
        calls, self._calls = self._calls, []
        if len(calls) != 1:
            got = f"{len(calls)} calls of {self.name!r}"
            remedy = "pass a layer called once as head=, or measure_features of what it takes"
            if calls:
                remedy = f"let it take all its inputs at once, {remedy}; and run each batch once"
            raise NeuralCollapseError("head", "one call in each forward pass", got, remedy)
        given = calls[0].as_given()
        if given is None:
            expected = f"features and logits of {self.name!r} that stay as they are after its call"
            remedy = "write h = h.relu() or z = z / t, say, instead of h.relu_() or z /= t"
            raise NeuralCollapseError("model", expected, "some changed in place", remedy)
        call = reduced(given, output)
        if self.tick < 0 and at_rest:
            self._require_kept(given)
        if self.tick < 0 and output is not None:
            self.confident = keeps_confidences(call, output)
            self.decisive = self.confident or decides(call, output)
        self.tick = call.tick
        features = call.features if self._scale is None else normalize(call.features, dim=-1)
        self.dense = math.prod(features.shape[1:-1]) > 1
        return features, call.two_sided()

    def _choose(self, output: Any) -> None:
        """Find the head among the layers that were called, and listen to it alone."""
        with unsharded(self.model):
            try:
                chosen = choose_head(self.model, self._calls, output)
            except NeuralCollapseError:
                if not self._optional:
                    raise
                self._absent, self._heard, self._calls = True, {}, []
                return
            self._attend(chosen)

    def _attend(self, chosen: LayerCall) -> None:
        self.name, self._module = chosen.name, chosen.module
        self._heard = {chosen.module: chosen.name}
        if not isinstance(chosen.module, AppliedMatrix):
            self._products = None
        self._calls = [call for call in self._calls if call.module is chosen.module]
        self._read(chosen.as_given() or chosen)

    def _read(self, call: LayerCall) -> None:
        """Read the weight while it is still that of the call: training may change it soon."""
        head, self._reading = read_head(call)
        self._scale = None if head is None else head.scale
        self._form = replace(call, features=_no_rows(call.features), logits=_no_rows(call.logits))
        if head is None and not may_be_head(call.module):
            raise no_head(
                self.name, call.module, "pass a layer whose output is h W^T + b of its input"
            )
        if head is None:
            warnings.warn(
                f"the logits of the head {self.name!r} ({type(call.module).__name__}) are not "
                "h W^T + b of a weight that can be read: metrics of the head are left out",
                stacklevel=4,
            )

    def _require_kept(self, call: LayerCall) -> None:
        """Refuse weights that were swapped in for the call alone, as `functional_call` does."""
        head = self.read()
        if head is not None and not explains(head, call.rows()):
            expected = f"a head {self.name!r} that keeps the weights it was called with"
            remedy = "load the weights to be measured into a copy of the network, and pass that"
            raise NeuralCollapseError("model", expected, "other weights after the call", remedy)

    def _hear(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        # Once the network has returned, its parts run on their own: in a backward pass, say.
        if module in self._heard and self._output is None:
            entered = args[0] if args else next(iter(kwargs.values()), None)
            call = layer_call(self._heard[module], module, entered, output)
            if call is not None:
                self._heed(call)
        if module is self.model:
            self._output = output
            empty = self._calls and not any(call.features.numel() for call in self._calls)
            if self._module is None and not (self._told or self._absent or empty):
                self._choose(output)
            # Before the weight changes, or whoever trains changes the logits.
            self._calls = [] if empty else [call.held() for call in self._calls]

    def _multiplied(self, call: LayerCall, former: LayerCall | None) -> None:
        """Hear a product, or that a bias was added to the former one."""
        self._calls = [known for known in self._calls if known is not former]
        if former is not None and former.module is self._module:
            self._module = self._form = None
        if self._told and self._module is None:
            self.name, self._module = call.name, call.module
        if self._module is None or call.module is self._module:
            self._heed(call)

    def _heed(self, call: LayerCall) -> None:
        self._calls.append(call)
        if call.module is self._module and self._form is None:
            self._read(call)

    def _begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if module is self.model:
            self._output = None
            self._listening.enter_context(self._products or nullcontext())

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if module is self.model:
            self._listening.close()


def _no_rows(part: Tensor) -> Tensor:
    return part.new_empty(0, part.shape[-1])


def _not_yet() -> NeuralCollapseError:
    return NeuralCollapseError(
        "head", "a network that has run once", "none yet", "call the model, then take()"
    )
