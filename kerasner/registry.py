"""The one table from `class_name` in a configuration to the class or function behind it."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from kerasner.errors import ConfigError, nearest

T = TypeVar("T", bound=Callable[..., Any])

_REGISTERED: dict[str, Callable[..., Any]] = {}


def register(name: str) -> Callable[[T], T]:
    """Make a class or function reachable from a configuration as `class_name`.

    Defining the same class again (same module and qualified name, as when a notebook cell is run
    twice) replaces the earlier definition; any other object under a taken name is an error.

    Args:
        name: The `class_name`, without ":" and not empty.

    Returns:
        A decorator that returns what it decorates, unchanged.

    Example:

    ```python
    @kerasner.register("reverser")
    class Reverser:
        def __init__(self, keep_first: bool = False):
            self.keep_first = keep_first
    ```
    """
    if not isinstance(name, str) or not name or ":" in name:
        raise ConfigError(
            "register() takes the class_name, a string without ':', as in "
            f"@register('my_component'); received {name!r}"
        )

    def decorate(component: T) -> T:
        if not (inspect.isclass(component) or inspect.isroutine(component)):
            raise ConfigError(
                f"@register('{name}') takes a class or a function, received {component!r}"
            )
        taken = _REGISTERED.get(name)
        if taken is not None and _origin(taken) != _origin(component):
            raise ConfigError(
                f"class_name '{name}' is already registered for {_origin(taken)}; "
                f"{_origin(component)} needs another name"
            )
        _REGISTERED[name] = component
        return component

    return decorate


def get(name: str, where: str = "class_name") -> Callable[..., Any]:
    """Look a registered class or function up.

    Args:
        name: The registered name. Import paths ("module:Class") are refused: a configuration
            may come from outside and must not choose what is imported.
        where: Config path of the name, for the error message.

    Returns:
        The registered class or function.

    Example:

    ```python
    get("reverser")  # the class Reverser
    ```
    """
    if isinstance(name, str) and name in _REGISTERED:
        return _REGISTERED[name]
    if isinstance(name, str) and ":" in name:
        raise ConfigError(
            f"{where}: '{name}' is an import path; import that module yourself, register the "
            "class with @kerasner.register('name') and give that name here"
        )
    if not isinstance(name, str):
        raise ConfigError(f"{where}: expected a registered name (a string), received {name!r}")
    raise ConfigError(f"{where}: unknown class_name {unknown(name, names())}")


def names() -> list[str]:
    """All registered names, sorted."""
    return sorted(_REGISTERED)


def parameters(component: Callable[..., Any]) -> list[str]:
    """The keyword names a configuration may give to a class's constructor or to a function.

    A constructor that forwards `**kwargs` also takes the names its base classes declare (a Keras
    layer's `name` and `dtype`, for instance). What only a bare `**kwargs` would take is left
    out: that is how misspelt keys get swallowed.

    Args:
        component: A class or function.

    Returns:
        The names in the order of declaration, the component's own first.

    Example:

    ```python
    parameters(get("reverser"))  # ["keep_first"]
    ```
    """
    found: dict[str, None] = {}
    for declared in _declarations(component):
        found.update(dict.fromkeys(p.name for p in declared))
    return list(found)


def check_parameters(
    component: Callable[..., Any],
    params: Mapping[str, Any],
    where: str,
    also: Iterable[str] = (),
) -> None:
    """Check keys of a configuration against what the component accepts and needs.

    Args:
        component: A class or function.
        params: What the configuration gives it, by name.
        where: Config path of `params`, such as "chainer.pipe[3]".
        also: Further keys valid there that are not the component's own, such as "in" and "out".

    Raises:
        ConfigError: A key is unknown, or one without a default value is missing.

    Example:

    ```python
    check_parameters(get("reverser"), {"keep_frist": True}, "chainer.pipe[3]")
    # ConfigError: chainer.pipe[3] (reverser): unknown key 'keep_frist': did you mean 'keep_first'?
    # Valid keys: keep_first
    ```
    """
    own, also = parameters(component), list(also)
    label = f"{where} ({_label(component)})"
    check_keys(params, [*own, *also], label)
    needed = [
        p.name
        for p in next(iter(_declarations(component)), [])
        if p.default is p.empty and p.name not in params
    ]
    if needed:
        listed = ", ".join(f"'{name}'" for name in needed)
        raise ConfigError(
            f"{label}: missing required key {listed}. Valid keys: {', '.join([*own, *also])}"
        )


def check_keys(given: Iterable[str], valid: Iterable[str], where: str) -> None:
    """Raise ConfigError for the first of the given keys that is not valid at this place."""
    valid = list(valid)
    for key in given:
        if key not in valid:
            raise ConfigError(f"{where}: unknown key {unknown(key, valid, 'keys')}")


def unknown(name: str, valid: Iterable[str], what: str = "names") -> str:
    """The tail of an "unknown ..." message: the name, the nearest valid one, all valid ones."""
    valid = list(valid)
    hint = nearest(name, valid)
    if not hint.startswith("did you mean"):
        return f"{name!r}: {hint}"
    return f"{name!r}: {hint} Valid {what}: {', '.join(valid)}"


def _declarations(component: Callable[..., Any]) -> list[list[inspect.Parameter]]:
    """Keyword parameters, a list per signature along the chain that `**kwargs` passes through."""
    chain: list[Callable[..., Any]] = [component]
    if inspect.isclass(component):
        # Signatures of __init__, not of the class: Keras 3 defines a __new__(*args, **kwargs)
        # that hides them.
        inits = [vars(c)["__init__"] for c in component.__mro__[:-1] if "__init__" in vars(c)]
        chain = inits or chain
    declared = []
    for step in chain:
        taken = list(inspect.signature(step).parameters.values())
        if step is not component:
            taken = taken[1:]  # self
        declared.append([p for p in taken if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)])
        if not any(p.kind is p.VAR_KEYWORD for p in taken):
            break
    return declared


def _label(component: Callable[..., Any]) -> str:
    registered = (name for name, known in _REGISTERED.items() if known is component)
    return next(registered, getattr(component, "__name__", repr(component)))


def _origin(component: Callable[..., Any]) -> str:
    return f"{component.__module__}.{component.__qualname__}"
