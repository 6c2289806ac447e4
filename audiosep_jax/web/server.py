"""Serves the page until the process is told to end."""

import os
import socket
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

from audiosep_jax.errors import MissingPackageError, PageError, shown
from audiosep_jax.separation.api import AudioSep
from audiosep_jax.separation.presence import AbsentQueryWarning
from audiosep_jax.web.gate import Gate
from audiosep_jax.web.limits import Limits
from audiosep_jax.web.storage import Storage
from audiosep_jax.web.style import CSS

LOCAL = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_ALLOWED_PATHS": "",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def check_installed() -> None:
    """Checks that the extra is there.

    Raises:
      AudioSepError: it is not.
    """
    try:
        import gradio  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingPackageError(
            "The page needs the package gradio, which is not installed: pip install 'audiosep_jax[web]'."
        ) from error


def bind(host: str, port: int) -> socket.socket:
    """Takes the address that the page is served at; port 0 takes any that is free.

    Raises:
      AudioSepError: it is taken, not of this machine, or no address.
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
    """Serves the page. It ends at Ctrl-C or SIGTERM, as an exception; then nothing is left on disk.

    Args:
      model: that separates.
      listening: what `bind` returned.
      host: as `bind` was given it.
      limits: of the page.
      ready: called with the page's address, once it answers.
    """
    warnings.simplefilter("ignore", AbsentQueryWarning)  # the page says it itself
    with listening, Storage(limits) as storage:
        os.environ |= {**_QUIET, "GRADIO_TEMP_DIR": str(storage.uploads)}
        app = application(model, storage=storage, limits=limits, local=host in LOCAL)
        import uvicorn  # pyright: ignore[reportMissingImports]

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                ready(_address(host, listening.getsockname()[1]))

            def handle_exit(self, sig: int, frame: FrameType | None) -> None:
                storage.stop()  # the server waits for what is being computed
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
    """Returns the ASGI application: the page, the files of its results, and the gate before both."""
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
            raise fastapi.HTTPException(404, "This result is no longer kept: separate again.")
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


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
