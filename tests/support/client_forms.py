"""Document forms in the exact framing of clients that are not installed where the tests run.

The framing is that of their sources, or of requests in their public bug reports. Each form has the
field `name`, then the file `CONTENT`.
"""

from dataclasses import dataclass
from typing import Final

CONTENT: Final = b"%PDF-2.0\r\n\xff"
PDF: Final = "application/pdf"
BINARY: Final = "application/octet-stream"
NAME: Final = 'Content-Disposition: form-data; name="name"'
FILE: Final = 'Content-Disposition: form-data; name="file"; filename="Cien años.pdf"'
PDF_TYPE: Final = "Content-Type: application/pdf"
# A filename as RFC 8187 encodes it.
EXTENDED: Final = "filename*=utf-8''Cien%20a%C3%B1os.pdf"


@dataclass(frozen=True)
class ClientForm:
    """A form, and what the service stores of it: `name`, `filename` and `content_type`."""

    boundary: str
    # The header lines of both parts.
    name_headers: tuple[str, ...] = (NAME,)
    file_headers: tuple[str, ...] = (FILE, PDF_TYPE)
    name: str = "Thesis"
    filename: str = "Cien años.pdf"
    content_type: str = PDF
    # The boundary and what follows it in the header Content-Type, if it is not the plain boundary.
    boundary_parameter: str = ""
    # The bytes before the first boundary and after the last one.
    start: bytes = b""
    end: bytes = b"\r\n"
    encoding: str = "utf-8"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request."""
        parameter = self.boundary_parameter or self.boundary
        return {"Content-Type": f"multipart/form-data; boundary={parameter}"}

    @property
    def body(self) -> bytes:
        """The body of the request."""
        delimiter = f"--{self.boundary}"
        text = "\r\n".join(
            [delimiter, *self.name_headers, "", self.name, delimiter, *self.file_headers, "", ""]
        )
        last_delimiter = f"\r\n{delimiter}--".encode()
        return self.start + text.encode(self.encoding) + CONTENT + last_delimiter + self.end


FORMS: Final = {
    "PHP, Guzzle": ClientForm(
        "0f5b6a1c8e2d4b7f9a3c5e7d1b2f4a6c8e0d2b4f",
        name_headers=(NAME, "Content-Length: 6"),
        file_headers=(FILE, "Content-Length: 11", PDF_TYPE),
    ),
    "Go, mime/multipart": ClientForm(
        "2d0b6f4c1a5e3d7b9f8c6a4e2d0b1f3c5a7e9d8b6f4c2a0e1d3b5f7c9a8e",
        file_headers=(
            r'Content-Disposition: form-data; name="file"; filename="a \"quoted\" name.pdf"',
            "Content-Type: application/octet-stream",
        ),
        filename='a "quoted" name.pdf',
        content_type=BINARY,
    ),
    "Perl, LWP": ClientForm(
        "xYzZY",
        file_headers=(
            r'Content-Disposition: form-data; name="file"; filename="Cien \"años\".pdf"',
            PDF_TYPE,
        ),
        filename='Cien "años".pdf',
    ),
    "Ruby, Net::HTTP": ClientForm("Zk3Yq0xT5s-7Wn1uVb8Rj2Lm4Pc6Ea9H_dGfKiOyQwXzNvBtS3A1M5"),
    "Ruby, Faraday": ClientForm(
        "-------------RubyMultipartPost-5a8f0b3c7d1e9a4f6b2c8d0e7f3a1b5c",
        file_headers=(FILE, "Content-Length: 11", PDF_TYPE, "Content-Transfer-Encoding: binary"),
    ),
    ".NET, HttpClient": ClientForm(
        "71e9da95-c5e7-4a9b-901a-ededd613dcd4",
        name_headers=(
            "Content-Type: text/plain; charset=utf-8",
            "Content-Disposition: form-data; name=name",
        ),
        file_headers=(
            PDF_TYPE,
            (
                "Content-Disposition: form-data; name=file; "
                f'filename="=?utf-8?B?Q2llbiBhw7Fvcy5wZGY=?="; {EXTENDED}'
            ),
        ),
        boundary_parameter='"71e9da95-c5e7-4a9b-901a-ededd613dcd4"',
    ),
    ".NET, HttpClient with an ASCII name": ClientForm(
        "182e92b9-ebbb-4522-9205-a05c9e35191f",
        name_headers=("Content-Disposition: form-data; name=name",),
        file_headers=(
            (
                "Content-Disposition: form-data; name=file; "
                "filename=thesis.pdf; filename*=utf-8''thesis.pdf"
            ),
        ),
        boundary_parameter='"182e92b9-ebbb-4522-9205-a05c9e35191f"',
        filename="thesis.pdf",
        content_type=BINARY,
    ),
    "Java, OkHttp 3 and 4": ClientForm(
        "be1563be-4245-4ac5-8a95-498ba5b57ba8",
        name_headers=(NAME, "Content-Length: 6"),
        file_headers=(FILE, PDF_TYPE, "Content-Length: 11"),
    ),
    "Java, Apache HttpClient": ClientForm(
        "kT3n8Zq_0vWm5Xy-7RbLc2JdHf9Ga",
        name_headers=(
            NAME,
            "Content-Type: text/plain; charset=ISO-8859-1",
            "Content-Transfer-Encoding: 8bit",
        ),
        file_headers=(
            'Content-Disposition: form-data; name="file"; filename="thesis.pdf"',
            "Content-Type: application/octet-stream",
            "Content-Transfer-Encoding: binary",
        ),
        name="Müller",
        filename="thesis.pdf",
        content_type=BINARY,
        encoding="latin-1",
    ),
    "Java, Spring RestTemplate": ClientForm(
        "d9xQ7TzW3sLr0pKvYbNc",
        name_headers=(NAME, "Content-Type: text/plain;charset=UTF-8", "Content-Length: 6"),
        file_headers=(FILE, PDF_TYPE, "Content-Length: 11"),
        boundary_parameter="d9xQ7TzW3sLr0pKvYbNc;charset=UTF-8",
    ),
    "Java, Spring WebClient": ClientForm(
        "Xq2RkT8bWv5NzLm0JpYc",
        name_headers=(NAME, "Content-Type: text/plain;charset=UTF-8"),
        file_headers=(
            (
                'Content-Disposition: form-data; name="file"; '
                f'filename="=?UTF-8?Q?Cien_a=C3=B1os.pdf?="; {EXTENDED}'
            ),
            PDF_TYPE,
        ),
    ),
    "Node.js, axios with form-data": ClientForm(
        "--------------------------842817364920175638402917"
    ),
    "Postman": ClientForm(
        "--------------------------318465920174836501928374",
        file_headers=(FILE.replace("Cien", r"D:\dh\Cien"), PDF_TYPE),
    ),
    "Uppy with allowedMetaFields": ClientForm("----WebKitFormBoundarySMBMHsFiLJSRKzZF"),
    "Dart, http": ClientForm(
        "dart-http-boundary-Xq2RkT8bWv5NzLm0JpYcDfGhKsQwErTyUiOpAsDfGhJkLzXcVbN",
        name_headers=(
            NAME.lower(),
            "content-type: text/plain; charset=utf-8",
            "content-transfer-encoding: binary",
        ),
        file_headers=(PDF_TYPE.lower(), FILE.replace("Content-Disposition", "content-disposition")),
        name="Müller",
    ),
    "Dart, dio": ClientForm("--dio-boundary-3918465027"),
    "Swift, Alamofire": ClientForm("alamofire.boundary.5d3f0a917bc2e846"),
    # AFNetworking began like this in 2011, and many programs without a library do.
    "Swift, by hand": ClientForm(
        "Boundary-6BA7B810-9DAD-11D1-80B4-00C04FD430C8",
        name_headers=(NAME.replace(": ", ":"),),
        file_headers=(FILE.replace(": ", ":"), PDF_TYPE.replace(": ", ":")),
        start=b"\r\n",
        end=b"",
    ),
    "Rust, reqwest 0.9": ClientForm(
        "5f1c0b8e7a3d4926",
        file_headers=(f'Content-Disposition: form-data; name="file"; {EXTENDED}', PDF_TYPE),
    ),
    "Python, requests with urllib3 1.24": ClientForm(
        "5cb06bfe9bc549e09dc080ed257f9555",
        file_headers=(f'Content-Disposition: form-data; name="file"; {EXTENDED}',),
        content_type=BINARY,
    ),
    "C++, Qt": ClientForm(
        "boundary_.oOo._5bA7c3g=MjA1MTk4",
        file_headers=(PDF_TYPE, FILE),
        boundary_parameter='"boundary_.oOo._5bA7c3g=MjA1MTk4"',
    ),
}
