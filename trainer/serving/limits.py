"""What a server takes on, and how it refuses the rest."""

from __future__ import annotations

import dataclasses

from input import errors

MEBIBYTE = 1 << 20
# Bodies of the largest size that are read at the same time.
_BODIES = 8


class Refusal(Exception):
    """A request that gets an error for an answer.

    Attributes:
        status: HTTP status code, as TensorFlow Serving has it for this error.
        retry_after: Seconds after which it is worth another try; None where
            the same request would be refused again.
    """

    def __init__(
        self, status: int, message: str, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much of everything.

    Attributes:
        max_body_bytes: Of one request.
        max_pictures: In one request.
        max_pixels: Width times height of a picture, by its header.
        max_queue: Pictures that are checked, wait or are computed, of all
            requests together.
        read_seconds: For a request to arrive, its head and its body each.
        timeout_seconds: From a body that has arrived to its answer.
    """

    max_body_bytes: int = 32 * MEBIBYTE
    max_pictures: int = 128
    max_pixels: int = 50_000_000
    max_queue: int = 512
    read_seconds: float = 30.0
    timeout_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Checks what depends on each other.

        Raises:
            errors.UsageError: No request of `max_pictures` could ever pass.
        """
        if self.max_queue < self.max_pictures:
            raise errors.UsageError(
                f"--max_queue={self.max_queue} must be at least "
                f"--max_pictures={self.max_pictures}: a request of so many "
                "could never pass."
            )

    @property
    def max_held_bytes(self) -> int:
        """Of bodies that are read or answered, of all requests together."""
        return _BODIES * self.max_body_bytes

    def check_length(self, length: int) -> None:
        """Raises Refusal for a body of more bytes than one may have."""
        if length > self.max_body_bytes:
            raise Refusal(
                413,
                f"The body has {length:,} bytes or more; at most "
                f"{self.max_body_bytes:,} are taken. Send fewer or smaller "
                "pictures in a request, or start the server with a higher "
                "--max_body_mb.",
            )

    def check_pictures(self, pictures: int, key: str) -> None:
        """Raises Refusal for more pictures than a request may have.

        Args:
            pictures: That the request has.
            key: Where in the request they are, for the message.
        """
        if pictures > self.max_pictures:
            raise Refusal(
                413,
                f"{key}: {pictures:,} pictures in one request; at most "
                f"{self.max_pictures:,} are taken. Send them in several "
                "requests, or start the server with a higher --max_pictures.",
            )


class Budget:
    """An amount that all requests share.

    Attributes:
        used: What is taken now.
    """

    def __init__(self, limit: int, refusal: str, retry_after: int = 1) -> None:
        """Starts with nothing taken.

        Args:
            limit: The most that may be taken at a time.
            refusal: What a request is told when there is not enough left.
            retry_after: See `Refusal`.
        """
        self.used = 0
        self._limit = limit
        self._refusal = refusal
        self._retry_after = retry_after

    def take(self, amount: int) -> None:
        """Takes some; who takes gives back.

        Raises:
            Refusal: There is not enough left.
        """
        if self.used + amount > self._limit:
            raise Refusal(503, self._refusal, self._retry_after)
        self.used += amount

    def give(self, amount: int) -> None:
        """Gives back what was taken."""
        self.used -= amount
