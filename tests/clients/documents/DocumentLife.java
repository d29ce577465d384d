import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.StringJoiner;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The life of documents with the standard client of Java, which encodes no forms and no JSON.
 *
 * <p>See tests/support/document_life.py, which does the same. The standard input is a line with the
 * plan, whose fields are separated by tabs: the URL of the service, a token, the sizes of two files
 * that are refused (0 to omit them), the number of filenames, the filenames, and the sizes.
 */
public class DocumentLife {
  private static final String BOUNDARY = "a-boundary";

  private final HttpClient client =
      HttpClient.newBuilder().followRedirects(HttpClient.Redirect.NORMAL).build();
  private final String url;
  private final String token;

  private DocumentLife(String api, String token) {
    this.url = api + "/documents";
    this.token = token;
  }

  /** The content of a form. */
  private record Form(
      String fieldName, String filename, String type, byte[] content, boolean isStreamed) {
    Form(byte[] content, boolean isStreamed) {
      this("name", "thesis.pdf", "application/pdf", content, isStreamed);
    }

    private BodyPublisher publisher() {
      String head =
          "--" + BOUNDARY + "\r\nContent-Disposition: form-data; name=\"" + fieldName
              + "\"\r\n\r\nThesis\r\n--" + BOUNDARY
              + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\""
              + filename.replace("\"", "%22") + "\"\r\nContent-Type: " + type + "\r\n\r\n";
      BodyPublisher file =
          isStreamed
              ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(content))
              : BodyPublishers.ofByteArray(content);
      // `concat` sends a Content-Length if the length of each publisher is known.
      return BodyPublishers.concat(
          BodyPublishers.ofString(head), file, BodyPublishers.ofString("\r\n--" + BOUNDARY + "--\r\n"));
    }
  }

  public static void main(String[] arguments) throws Exception {
    BufferedReader input =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    String[] plan = input.readLine().split("\t");
    DocumentLife life = new DocumentLife(plan[0], plan[1]);
    int tooLarge = Integer.parseInt(plan[2]);
    int withUnknownField = Integer.parseInt(plan[3]);
    // The refusals come first, so that the client then uses connections after them.
    String refused = tooLarge > 0 ? life.sendRefusedFiles(tooLarge, withUnknownField) : "{}";
    int firstSize = 5 + Integer.parseInt(plan[4]);
    List<String> names = new ArrayList<>();
    for (int index = 5; index < firstSize; index++) {
      names.add(life.uploadName(plan[index]));
    }
    List<String> sizes = new ArrayList<>();
    for (int index = firstSize; index < plan.length; index++) {
      boolean isStreamed = (index - firstSize) % 4 == 0;
      sizes.add(life.uploadSize(Integer.parseInt(plan[index]), isStreamed));
    }
    String results =
        object(
            "refused", refused,
            "names", names.toString(),
            "sizes", sizes.toString(),
            "change", life.changeDocument());
    new PrintStream(System.out, true, StandardCharsets.UTF_8).println(results);
  }

  private String uploadName(String filename) throws Exception {
    byte[] content = "content".getBytes(StandardCharsets.UTF_8);
    Form form = new Form("name", filename, "application/pdf", content, false);
    HttpResponse<byte[]> response = sendForm("POST", url, form, token, null);
    String download = response.statusCode() == 201 ? download(field(response, "file_url"), null) : "{}";
    return object(
        "sent", quote(filename),
        "status", response.statusCode(),
        "document", text(response),
        "download", download);
  }

  private String uploadSize(int size, boolean isStreamed) throws Exception {
    Form form = new Form(createContent(size), isStreamed);
    HttpResponse<byte[]> response = sendForm("POST", url, form, token, null);
    return object(
        "status", response.statusCode(),
        "size", field(response, "size"),
        "sha256", quote(field(response, "sha256")),
        "download", download(field(response, "file_url"), null));
  }

  private String changeDocument() throws Exception {
    HttpResponse<byte[]> created = sendForm("POST", url, new Form(new byte[5], false), token, null);
    String etag = created.headers().firstValue("ETag").orElseThrow();
    String documentUrl = url + "/" + field(created, "id");
    byte[] digits = "0123456789".getBytes(StandardCharsets.UTF_8);
    Form form = new Form("name", "\u00c5se.txt", "text/plain; charset=utf-8", digits, false);
    HttpResponse<byte[]> replaced = sendForm("PATCH", documentUrl, form, token, etag);
    HttpResponse<byte[]> stale = sendForm("PATCH", documentUrl, form, token, etag);
    String fileUrl = field(replaced, "file_url");
    HttpResponse<byte[]> head = send("HEAD", documentUrl + "/content", token, null);
    HttpRequest range = HttpRequest.newBuilder(URI.create(fileUrl)).header("Range", "bytes=2-4").build();
    return object(
        "replaced", replaced.statusCode(),
        "stale", describeProblem(stale),
        "download", download(fileUrl, null),
        "redirected", download(documentUrl + "/content", token),
        "head", object("status", head.statusCode(), "size", quote(header(head, "Content-Length"))),
        "range", quote(text(client.send(range, BodyHandlers.ofByteArray()))),
        "direct", uploadDirectly(documentUrl),
        "deleted", send("DELETE", documentUrl, token, null).statusCode(),
        "gone", send("GET", documentUrl, token, null).statusCode());
  }

  private String uploadDirectly(String documentUrl) throws Exception {
    byte[] content = createContent(1024 * 1024);
    String file =
        object(
            "filename", quote("direct.bin"),
            "content_type", quote("application/x-thing"),
            "size", content.length);
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(documentUrl + "/uploads"))
            .header("Authorization", "Bearer " + token)
            .header("Content-Type", "application/json")
            .POST(BodyPublishers.ofString(file))
            .build();
    HttpResponse<byte[]> upload = client.send(request, BodyHandlers.ofByteArray());
    // The first URL of the response is that of the only part, and the first id that of the upload.
    HttpResponse<byte[]> sent = send("PUT", field(upload, "url"), null, content);
    String completeUrl = documentUrl + "/uploads/" + field(upload, "id") + "/complete";
    HttpResponse<byte[]> completed = send("POST", completeUrl, token, null);
    String download = completed.statusCode() == 200 ? download(field(completed, "file_url"), null) : "{}";
    return object(
        "sent", sent.statusCode(), "completed", completed.statusCode(), "download", download);
  }

  private String sendRefusedFiles(int tooLarge, int withUnknownField) throws Exception {
    Form large = new Form(new byte[tooLarge], false);
    Form unknownField =
        new Form("title", "thesis.pdf", "application/pdf", new byte[withUnknownField], false);
    return object(
        "too large", describeProblem(sendForm("POST", url, large, token, null)),
        "too large and streamed",
            describeProblem(sendForm("POST", url, new Form(large.content, true), token, null)),
        "without a valid token", describeProblem(sendForm("POST", url, large, "wrong", null)),
        "with an unknown field", describeProblem(sendForm("POST", url, unknownField, token, null)));
  }

  private HttpResponse<byte[]> sendForm(
      String method, String target, Form form, String bearer, String etag) throws Exception {
    HttpRequest.Builder request =
        HttpRequest.newBuilder(URI.create(target))
            .header("Authorization", "Bearer " + bearer)
            .header("Content-Type", "multipart/form-data; boundary=" + BOUNDARY)
            .method(method, form.publisher());
    if (etag != null) {
      request.header("If-Match", etag);
    }
    return client.send(request.build(), BodyHandlers.ofByteArray());
  }

  private HttpResponse<byte[]> send(String method, String target, String bearer, byte[] body)
      throws Exception {
    BodyPublisher publisher =
        body == null ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(body);
    HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(target)).method(method, publisher);
    if (bearer != null) {
      request.header("Authorization", "Bearer " + bearer);
    }
    return client.send(request.build(), BodyHandlers.ofByteArray());
  }

  private String download(String target, String bearer) throws Exception {
    HttpResponse<byte[]> response = send("GET", target, bearer, null);
    byte[] digest = MessageDigest.getInstance("SHA-256").digest(response.body());
    return object(
        "status", response.statusCode(),
        "disposition", quote(header(response, "Content-Disposition")),
        "content_type", quote(header(response, "Content-Type")),
        "sha256", quote(HexFormat.of().formatHex(digest)));
  }

  private static byte[] createContent(int size) {
    byte[] content = new byte[size];
    for (int index = 0; index < size; index++) {
      content[index] = (byte) (index % 251);
    }
    return content;
  }

  private static String describeProblem(HttpResponse<byte[]> response) {
    String type = field(response, "type");
    return "[" + response.statusCode() + ", " + quote(type.substring(type.lastIndexOf(':') + 1)) + "]";
  }

  private static String header(HttpResponse<byte[]> response, String name) {
    return response.headers().firstValue(name).orElse("");
  }

  private static String text(HttpResponse<byte[]> response) {
    return new String(response.body(), StandardCharsets.UTF_8);
  }

  /** Return the first value of a member in a JSON body that is a string or a number. */
  private static String field(HttpResponse<byte[]> response, String name) {
    Matcher matcher = Pattern.compile("\"" + name + "\":\"?([^\",}]*)").matcher(text(response));
    return matcher.find() ? matcher.group(1) : "";
  }

  private static String quote(String value) {
    return "\"" + value.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
  }

  /** Return a JSON object of names and JSON values. */
  private static String object(Object... namesAndValues) {
    StringJoiner members = new StringJoiner(",", "{", "}");
    for (int index = 0; index < namesAndValues.length; index += 2) {
      members.add(quote(namesAndValues[index].toString()) + ":" + namesAndValues[index + 1]);
    }
    return members.toString();
  }
}
