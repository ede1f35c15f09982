from tests.warpadam.sdk.served import listening, served

__all__ = ["listening", "served"]
