import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Creates authors with the standard client of Java, which offers HTTP/2 in an Upgrade header. */
public class PostAuthor {
  public static void main(String[] arguments) throws Exception {
    URI uri = URI.create(arguments[0] + "/authors");
    HttpClient client = HttpClient.newHttpClient();
    for (String name : new String[] {"Ada", "Grace"}) {
      HttpRequest request =
          HttpRequest.newBuilder(uri)
              .header("Content-Type", "application/json")
              .POST(HttpRequest.BodyPublishers.ofString("{\"name\": \"" + name + "\"}"))
              .build();
      System.out.println(client.send(request, BodyHandlers.ofString()).statusCode());
    }
  }
}
