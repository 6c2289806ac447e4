"""The server of the page."""

import os
import socket
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

from audiosep_jax.errors import MissingPackageError, PageError, shown
from audiosep_jax.separation.api import AudioSep
from audiosep_jax.separation.presence import AbsentQueryWarning
from audiosep_jax.separation.scale import ScaleWarning
from audiosep_jax.web.gate import Gate
from audiosep_jax.web.html import CSS
from audiosep_jax.web.limits import Limits
from audiosep_jax.web.storage import Storage

LOCAL = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_ALLOWED_PATHS": "",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def check_installed() -> None:
    """Checks that the extra is installed.

    Raises:
      MissingPackageError: it is not.
    """
    try:
        import gradio  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingPackageError(
            "The page needs the package gradio, which is not installed: pip install 'audiosep_jax[web]'."
        ) from error


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket that listens at the address of the page; port 0 takes any free port.

    Raises:
      PageError: the address is taken, not of this machine, or invalid.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, socket.SOCK_STREAM)
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
            taken.listen(128)
        except BaseException:
            taken.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PageError(
            f"The page cannot be served at {shown(host)}, port {port} ({shown(reason)}): choose another "
            "--port or --host."
        ) from error
    return taken


def serve(
    model: AudioSep, *, listening: socket.socket, host: str, limits: Limits, ready: Callable[[str], None]
) -> None:
    """Serves the page until Ctrl-C or SIGTERM, which end it as an exception; nothing is left on disk.

    The socket and the host are those of `bind`; `ready` is called with the page's address when it answers.
    """
    for category in (AbsentQueryWarning, ScaleWarning):  # the page shows them
        warnings.simplefilter("ignore", category)
    with listening, Storage(limits) as storage:
        os.environ |= {**_QUIET, "GRADIO_TEMP_DIR": str(storage.uploads)}
        app = application(model, storage=storage, limits=limits, local=host in LOCAL)
        import uvicorn  # pyright: ignore[reportMissingImports]

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                name = f"[{host}]" if ":" in host else host
                ready(f"http://{name}:{listening.getsockname()[1]}")

            def handle_exit(self, sig: int, frame: FrameType | None) -> None:
                storage.stop()  # otherwise the server waits for a running separation
                super().handle_exit(sig, frame)

        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=2,
            server_header=False,
            ws="none",
        )
        Server(config).run(sockets=[listening])


def application(model: AudioSep, *, storage: Storage, limits: Limits, local: bool) -> Any:
    """Returns the ASGI application: the page, the files of its results, and the gate in front of both."""
    import fastapi  # pyright: ignore[reportMissingImports]
    import gradio as gr  # pyright: ignore[reportMissingImports]
    from fastapi.responses import FileResponse  # pyright: ignore[reportMissingImports]

    from audiosep_jax.web.example_mixtures import write_examples
    from audiosep_jax.web.page import Handlers, build

    examples = storage.folder / "examples"
    examples.mkdir()
    handlers = Handlers(model, storage, limits, write_examples(examples))
    blocks = build(handlers, storage, limits, local=local)
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/result/{token}/{name}")
    def result(token: str, name: str) -> FileResponse:
        path = storage.find(token, name)
        if path is None:
            raise fastapi.HTTPException(404, "This result was deleted: separate again.")
        return FileResponse(path, headers={"cache-control": "no-store"})

    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=limits.upload_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        allowed_paths=[],
        theme=gr.themes.Soft(
            primary_hue="orange",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ).set(
            body_background_fill="*neutral_50",
            body_background_fill_dark="*neutral_950",
            block_background_fill="white",
            block_background_fill_dark="*neutral_900",
            body_text_color_subdued="*neutral_500",
        ),
        css=CSS,
    )
    inputs = {index: len(event.inputs) for index, event in blocks.fns.items()}
    return Gate(app, storage=storage, limits=limits, hosts=LOCAL if local else None, inputs=inputs)
