// Swagger UI for the OpenAPI document beside this page; nothing is loaded from elsewhere.
"use strict";

window.ui = SwaggerUIBundle({
  url: "openapi.json",
  domNode: document.getElementById("docs"),
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  validatorUrl: null,
});
