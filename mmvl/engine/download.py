"""Weights from an address: only with their hash, and only once."""

import hashlib
import http.client
import os
import re
import sys
import urllib.error
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from torch.hub import download_url_to_file

from .file_checks import CheckpointError

ADDRESS = re.compile(r'[a-z][a-z0-9+.-]*://', re.IGNORECASE)
WITH_HASH = re.compile(r'(https?://[^\s#]+)#sha256=([0-9a-f]{64})', re.IGNORECASE)


def local_file(source: str | os.PathLike) -> Path:
    """Give the path of a file, which is downloaded first if ``source`` is an address.

    Args:
        source: a path, whose leading ``~`` is expanded, or an address as in :func:`fetch_weights`.

    Raises:
        CheckpointError: the address cannot be fetched.
    """
    if isinstance(source, str) and ADDRESS.match(source):
        return fetch_weights(source)
    return Path(source).expanduser()


def fetch_weights(source: str) -> Path:
    """Download a file into the cache, unless it is there.

    The cache is ``$XDG_CACHE_HOME/mmvl/weights``, or ``~/.cache/mmvl/weights``. The file appears in
    it when it is complete and its hash is right; what breaks off begins anew at the next call.

    Args:
        source: ``https://host/name.pth#sha256=`` and the 64 hexadecimal digits of its SHA-256.

    Returns:
        The file in the cache.

    Raises:
        CheckpointError: there is no hash in the address, the server cannot be reached, or what it
            sent has another hash. Nothing of it is kept.
        OSError: the disk refused.
    """
    match = WITH_HASH.fullmatch(source)
    if match is None:
        raise CheckpointError(
            f'{source} has no hash, and nothing is downloaded without one.\n'
            'What to do: write https://.../FILE#sha256=DIGITS, with the 64 digits that its authors '
            "publish or that 'sha256sum FILE' prints."
        )
    url, digest = match[1], match[2].lower()
    # The end of the name, where the suffix is; its hash keeps it apart from others.
    name = re.sub(r'[^\w.-]', '_', PurePosixPath(urlsplit(url).path).name)[-100:]
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    file = cache / 'mmvl' / 'weights' / f'{digest[:16]}-{name}'
    if file.is_file() and _sha256(file) == digest:
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        download_url_to_file(url, str(file), hash_prefix=digest, progress=sys.stderr.isatty())
    except RuntimeError as error:
        got = re.search(r'got "([0-9a-f]{64})"', str(error))
        if got is None:
            raise
        raise CheckpointError(
            f'{url} is not the expected file, or broke off: SHA-256 {got[1]}, expected {digest}.\n'
            'What to do: try again; if it stays so, do not use the file and ask its authors.'
        ) from None
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        ConnectionError,
        TimeoutError,
        ValueError,
    ) as error:
        text = ' '.join(str(error).split())[:160] or type(error).__name__
        raise CheckpointError(
            f'{url} cannot be downloaded: {text}.\n'
            'What to do: try again, or fetch it by other means and pass its path.'
        ) from None
    return file


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, 'rb') as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
