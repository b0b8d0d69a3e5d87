"""Which addresses of an MLflow server are taken, said before anything is sent there."""

from urllib.parse import urlsplit

SCHEMES = ("http", "https", "sqlite")


def check_uri(uri: str) -> None:
    """Refuse what MLflow would fail on again and again, and secrets that would be printed."""
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES:
        raise ValueError(
            f"--tracking-uri {uri!r}: use http://HOST:PORT or https:// of an MLflow server, or "
            "sqlite:///FILE; without it metrics go to mlflow.db in the root"
        )
    if parts.password is not None:
        raise ValueError(
            f"--tracking-uri has a password for {parts.hostname}: pass it in the environment, "
            "as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
