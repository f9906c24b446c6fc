class Refusal(Exception):
    """Why nothing is written: a registered error code, and what is told to the user."""

    def __init__(self, code, detail):
        super().__init__(detail)
        self.code = code
        self.detail = detail


def unsupported(detail):
    return Refusal("ConversionUnsupported", detail)


def usage(detail):
    return Refusal("Usage", detail)
