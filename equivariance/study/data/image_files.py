"""Image files in class folders: decoded only when they are asked for, ahead of the network that looks at them."""

import hashlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import cpu_count
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from equivariance.errors import UserError, reason
from equivariance.progress import progress

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # of IMG_EXTENSIONS, by what a file begins with
START = "fork" if sys.platform == "linux" else "spawn"  # of processes; joblib's own would set another
SIGNALS_NAME_SENDERS = hasattr(signal, "sigwaitinfo")  # not on macOS, where SIGTERM ends workers, whoever sends it
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM) if SIGNALS_NAME_SENDERS else (signal.SIGINT,)
AHEAD = 256  # images that wait decoded, at most: each holds a file descriptor of shared memory

Transform = Callable[[Image.Image], Tensor]  # an RGB image to uint8 (3, h, w)


@dataclass(frozen=True)
class Photographs:
    """Image files as if they were one uint8 tensor (n, 3, h, w): what is indexed is decoded.

    Attributes:
        transform: an RGB image to uint8 (3, h, w); its text describes it.
        size: (h, w).
    """

    files: Sequence[Path]
    transform: Transform
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self), 3, *self.size

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        if isinstance(index, int):
            return self.read(self.files[index])
        chosen = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        return torch.stack([self[i] for i in chosen])

    def read(self, file: Path) -> Tensor:
        """uint8 (3, h, w).

        Raises:
            UserError: the file is no image, damaged, of another size, or of pixels whose range its type does not
                say.
        """
        _check_regular(file)
        try:
            with Image.open(file, formats=FORMATS) as image:
                rgb = eight_bit(image).convert("RGB")
        except Exception as error:  # damaged files make decoders raise anything
            raise UserError(f"cannot read the image {file}: {reason(error)}") from error
        pixels, wanted = torch.as_tensor(self.transform(rgb)), (3, *self.size)
        if pixels.shape != wanted or pixels.dtype is not torch.uint8:
            raise UserError(
                f"{file} gives {pixels.dtype} of shape {(*pixels.shape,)}; every image must be torch.uint8 of "
                f"{wanted}, see dataset.size and dataset.transform"
            )
        return pixels

    def decode(self) -> Tensor:
        """All of them, as one tensor."""
        try:
            pixels = torch.empty(self.shape, dtype=torch.uint8)
        except RuntimeError as error:
            height, width = self.size
            raise UserError(
                f"{self.files[0].parent.parent}: {len(self)} images of {height}x{width} need "
                f"{3 * height * width * len(self) / 2**30:.1f} GiB as one tensor, more than this machine has; "
                "lower dataset.size"
            ) from error

        def fill(index: int) -> None:
            pixels[index] = self[index]

        _in_threads(fill, range(len(self)), f"reading {self.files[0].parent.parent}")
        return pixels

    def digest(self, chosen: Tensor) -> bytes:
        """Identifies the contents of the chosen files, and what is done to them."""
        files = [self.files[index] for index in chosen.tolist()]
        hashes = _in_threads(_hash, files, "hashing the images")
        return hashlib.blake2b("\n".join([str(self.transform), *hashes]).encode()).digest()


Pixels = Tensor | Photographs


def _in_threads(work: Callable[[Any], Any], items: Sequence[Any], title: str) -> list[Any]:
    """The results of `work` on each item, with a bar where it takes long."""
    found = []
    with ThreadPoolExecutor() as pool, progress(title, len(items), delay=5) as bar:
        for each in pool.map(work, items):
            found.append(each)
            bar.update()
    return found


def _hash(file: Path) -> str:
    """The hash of a file's content."""
    _check_regular(file)
    try:
        with open(file, "rb") as content:
            return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error


def _check_regular(file: Path) -> None:
    """Refuse what is no file: opening a pipe would wait for ever."""
    if not file.is_file():
        what = "no regular file" if file.exists() else "a link to nothing" if file.is_symlink() else "not there"
        raise UserError(f"cannot read the image {file}: it is {what}")


@dataclass(frozen=True)
class Cover:
    """The shorter side resized (bicubic) until the image covers `size` (h, w), then the centre cut out."""

    size: tuple[int, int]

    def __call__(self, image: Image.Image) -> Tensor:
        height, width = self.size
        scale = max(height / image.height, width / image.width)
        wide, high = max(width, round(image.width * scale)), max(height, round(image.height * scale))
        left, top = (wide - width) // 2, (high - height) // 2
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
        return tensor(image.crop((left, top, left + width, top + height)))


def tensor(image: Image.Image) -> Tensor:
    """An RGB image as uint8 (3, h, w)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def eight_bit(image: Image.Image) -> Image.Image:
    """The image with 8 bits a channel: 16-bit values v become v / 257.

    Raises:
        ValueError: its pixels are floating-point or 32-bit numbers, whose range nothing says.
    """
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if sixteen:
        values = np.asarray(image).astype(np.float64)  # Pillow's own conversion cuts off at 255
        return Image.fromarray((values / 257).round().clip(0, 255).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise ValueError(f"its pixels are {kind} numbers, whose range is unknown; convert it to 8 or 16 bits")
    return image


def class_folders(folder: Path) -> list[str]:
    """The names of the folders below, in alphabetical order."""
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if not classes:
        raise UserError(f"{folder} holds no class folders; images are expected as {folder}/CLASS/*.png")
    return classes


def list_files(folder: Path, classes: Sequence[str]) -> tuple[list[Path], Tensor]:
    """All images below FOLDER/CLASS/ of each class in turn, and the place of their class among `classes`.

    As torchvision's ImageFolder, links to folders are followed. Hidden files and folders, such as .thumbnails, are
    left out, and files without one of its endings; a line on stderr says how many.
    """
    files: list[Path] = []
    labels: list[int] = []
    left_out: Counter[str] = Counter(hidden=sum(path.is_dir() for path in folder.glob(".*")))
    for label, name in enumerate(classes):
        found = sorted(_images(folder / name, left_out))
        if not found:
            raise UserError(f"class folder {folder / name} holds no images ({', '.join(IMG_EXTENSIONS)})")
        files += found
        labels += [label] * len(found)
    if left_out.total():
        named = ", ".join(f"{count} {kind}" for kind, count in (+left_out).most_common(5))
        print(f"{folder}: left out are files and folders: {named}", file=sys.stderr)
    return files, torch.tensor(labels)


def _images(folder: Path, left_out: Counter[str]) -> Iterator[Path]:
    """The images below a folder; all else is counted, but for hidden files that are no images."""
    for entry in os.scandir(folder):  # which asks the file system once a folder, not once a file
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name[0] == ".":
            left_out["hidden"] += suffix in IMG_EXTENSIONS or entry.is_dir()
        elif entry.is_dir():
            if folder.resolve().is_relative_to(Path(entry).resolve()):
                raise UserError(f"{entry.path} is a link to a folder that it lies in; remove the link")
            yield from _images(Path(entry), left_out)
        elif suffix in IMG_EXTENSIONS:
            yield Path(entry)
        else:
            left_out[suffix if suffix[1:].isalnum() else "without an ending"] += 1


class Stream:
    """Chosen images in their order, a slice at a time; files are decoded by other processes, ahead of the asking.

    Processes, not threads: Pillow gives the interpreter's lock back while it decodes, but takes it again too often
    (two threads decode no more than one, two processes twice as many).

    Args:
        chosen: indices into it.
        start: the first place in `chosen` that will be asked for.
        batch: images of a slice, about.
        processes: that share the cores of this machine.

    Attributes:
        waited: seconds that slices were waited for.
    """

    def __init__(
        self, pixels: Pixels, chosen: Tensor, start: int, batch: int, device: torch.device, processes: int = 1
    ):
        self.pixels, self.chosen, self.device, self.waited = pixels, chosen, device, 0.0
        if isinstance(pixels, Photographs):
            workers = max(1, min(16, cpu_count() // processes))
            indices: Any = chosen[start:].tolist()
            loader: DataLoader[Any] = DataLoader(
                indices,
                batch_size=None,
                collate_fn=partial(_decoded, pixels),
                num_workers=workers,
                prefetch_factor=max(1, min(2 * batch, AHEAD) // workers),
                multiprocessing_context=START,
                worker_init_fn=_heed_only_the_first_process,
            )
            # A stop signal to the process group is for the first process to heed: blocked here, it is blocked in
            # the workers from their first moment on.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            try:
                self._images: Iterator[Any] = iter(loader)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __getitem__(self, part: slice) -> Tensor:
        """uint8 (n, c, h, w). Each slice begins where the one before it ends; the last may go beyond the end."""
        began = time.perf_counter()
        chosen = self.chosen[part]
        pixels = self.pixels[chosen] if isinstance(self.pixels, Tensor) else self._next(len(chosen))
        self.waited += time.perf_counter() - began
        return pixels.to(self.device)

    def _next(self, count: int) -> Tensor:
        images = []
        for image in islice(self._images, count):
            if isinstance(image, UserError):
                raise image
            images.append(image)
        return torch.stack(images)


def _decoded(photographs: Photographs, index: int) -> Tensor | UserError:
    """An image, or the error that it makes: an exception would arrive as a text of many lines."""
    try:
        return photographs[index]
    except UserError as error:
        return error


def _heed_only_the_first_process(worker: int) -> None:
    """In a worker, where stop signals are blocked: end when the first process says so, and for nobody else."""
    first = os.getppid()

    def wait() -> None:
        while signal.sigwaitinfo([signal.SIGTERM]).si_pid != first:
            pass
        os._exit(0)

    if SIGNALS_NAME_SENDERS:
        threading.Thread(target=wait, daemon=True).start()
