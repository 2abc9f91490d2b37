// The page that describes the API: Swagger UI over our schema.
const place = document.getElementById("api");

function csrfToken() {
  return document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? "";
}

window.SwaggerUIBundle({
  domNode: place,
  url: `${place.dataset.schema}?format=json`,
  deepLinking: true,
  // It would be asked for from another site, which the policy forbids.
  validatorUrl: null,
  persistAuthorization: false,
  requestInterceptor: (request) => {
    const own = new URL(request.url, location.href).origin === location.origin;
    if (own && request.method !== "GET") request.headers["X-CSRFToken"] = csrfToken();
    return request;
  },
});
