"""One definition for two clients.

What the client does is written once, as `async def` over a `Transport`. The blocking transport never suspends, so a
coroutine over it runs to its end in one step, without an event loop. The decorators here give each method what its
user sees: of a blocking client a value or an iterator, of an async one a coroutine or an async iterator; with types.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload


class Mode:
    """How a client waits; a type only."""


class Blocking(Mode):
    """The mode of `Client`."""


class Awaited(Mode):
    """The mode of `AsyncClient`."""


M = TypeVar("M", bound=Mode)


class Resource(Generic[M]):
    """Whatever has methods under one of the decorators below."""

    @property
    def blocks(self) -> bool:
        raise NotImplementedError


One = TypeVar("One", bound=Resource[Any])
BlockingOne = TypeVar("BlockingOne", bound=Resource[Blocking])
AwaitedOne = TypeVar("AwaitedOne", bound=Resource[Awaited])
P = ParamSpec("P")
T = TypeVar("T")


class call(Generic[One, P, T]):  # noqa: N801 - used as a decorator
    """For a method with one result."""

    def __init__(self, function: Callable[Concatenate[One, P], Coroutine[Any, Any, T]]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, one: None, owner: object) -> Self: ...
    @overload
    def __get__(self, one: Resource[Blocking], owner: object) -> Callable[P, T]: ...
    @overload
    def __get__(self, one: Resource[Awaited], owner: object) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, one: Any, owner: object) -> Any:
        if one is None:
            return self
        method: Callable[P, Coroutine[Any, Any, T]] = self.function.__get__(one)
        if not one.blocks:
            return method

        @wraps(method)
        def blocking(*args: P.args, **kwargs: P.kwargs) -> T:
            return run(method(*args, **kwargs))

        return blocking


class call_self(Generic[One, P]):  # noqa: N801 - used as a decorator
    """For a method that changes its object and gives it back."""

    def __init__(self, function: Callable[Concatenate[One, P], Coroutine[Any, Any, None]]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, one: None, owner: object) -> Self: ...
    @overload
    def __get__(self, one: BlockingOne, owner: object) -> Callable[P, BlockingOne]: ...
    @overload
    def __get__(self, one: AwaitedOne, owner: object) -> Callable[P, Coroutine[Any, Any, AwaitedOne]]: ...
    def __get__(self, one: Any, owner: object) -> Any:
        if one is None:
            return self
        method: Callable[P, Coroutine[Any, Any, None]] = self.function.__get__(one)

        @wraps(method)
        async def changed(*args: P.args, **kwargs: P.kwargs) -> Any:
            await method(*args, **kwargs)
            return one

        @wraps(method)
        def blocking(*args: P.args, **kwargs: P.kwargs) -> Any:
            return run(changed(*args, **kwargs))

        return blocking if one.blocks else changed


class each(Generic[One, P, T]):  # noqa: N801 - used as a decorator
    """For an async generator: what it yields, one by one."""

    def __init__(self, function: Callable[Concatenate[One, P], AsyncIterator[T]]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, one: None, owner: object) -> Self: ...
    @overload
    def __get__(self, one: Resource[Blocking], owner: object) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, one: Resource[Awaited], owner: object) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, one: Any, owner: object) -> Any:
        if one is None:
            return self
        method: Callable[P, AsyncGenerator[T, None]] = self.function.__get__(one)
        if not one.blocks:
            return method

        @wraps(method)
        def blocking(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return run_each(method(*args, **kwargs))

        return blocking


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine over the blocking transport."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise AssertionError("a coroutine over the blocking transport never suspends")


def run_each(generator: AsyncGenerator[T, None]) -> Iterator[T]:
    """What an async generator over the blocking transport yields; it is closed when its reader stops."""
    try:
        while True:
            try:
                item = run(generator.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(generator.aclose())
