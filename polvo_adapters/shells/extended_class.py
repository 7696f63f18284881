"""Classes that are made of the class of an object of another library, to watch that object.

Theory of operation. An object gets a class of its own: a mixin in front of the class that it has. `type(object)` shows
it, but `object.__class__` goes on to be what it was. Code reads that: `super(self.__class__, self)` is the wrong way to
call the method of a base class, which works as long as the class has no subclass, and is found in many adapters. With
the new class there, such a method would call itself for ever.
"""

from __future__ import annotations

from typing import Any

_assign = object.__dict__["__class__"].__set__


def extend(kind: Any, mixin: type, **members: Any) -> Any:
    """Return a class with a mixin in front of a class, whose objects say that they are of that class.

    Args:
        kind: The class; an extended one stands for that which it extends.
        mixin: The mixin.
        **members: Further members of the new class.

    Raises:
        TypeError: The class cannot be extended, such as one that expects keywords of its subclasses.
    """
    original = getattr(kind, "_original_class", kind)
    claims = property(lambda _: original, _assign)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "_original_class": original}
    return type(kind.__name__, (mixin, kind), {**names, "__class__": claims, **members})
