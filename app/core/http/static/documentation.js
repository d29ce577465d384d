/*
 * The documentation page: Swagger UI with options, and with plugins where it has no option.
 *
 * Each plugin replaces or wraps components, selectors or actions of Swagger UI, and says why. The
 * interface is described at
 * https://swagger.io/docs/open-source-tools/swagger-ui/customization/plugin-api/
 * The plugins of the login are in documentation_access.js.
 *
 * The names of these parts, and their arguments, are not documented, and may change with an update
 * of fastapi-offline, which contains Swagger UI. Then tests/test_swagger.py fails.
 * To find such a part, search for its name in the source: https://github.com/swagger-api/swagger-ui
 */
"use strict";

// Descriptions with more characters are folded.
const MAX_DESCRIPTION_LENGTH = 250;

/*
 * Adapts the OpenAPI document to what the page does with it. Swagger UI
 * - checks regular expressions itself and shows them to the user. Without them, the service checks
 *   the values, and its errors are written for people;
 * - fills in examples and defaults of optional parameters and form fields, and sends them. An
 *   example of If-Match would make every write fail, and one of Idempotency-Key would repeat the
 *   response to the first.
 */
const AdaptDocument = () => ({
  statePlugins: {
    spec: {
      wrapActions: {
        updateJsonSpec: (original) => (specification) => {
          const schemas = specification.components?.schemas ?? {};
          foldDescription(specification.info ?? {});
          for (const pathItem of Object.values(specification.paths ?? {})) {
            Object.values(pathItem).forEach((operation) => adaptOperation(operation, schemas));
          }
          adaptParametersAndSchemas(specification);
          return original(specification);
        },
      },
    },
  },
});

function adaptOperation(operation, schemas) {
  foldDescription(operation, { keepsEnd: true });
  for (const [mediaType, { schema }] of Object.entries(operation.requestBody?.content ?? {})) {
    const form = schemas[schema?.$ref?.split("/").pop()] ?? schema;
    if (!mediaType.includes("form") || !form?.properties) {
      continue;
    }
    for (const [name, field] of Object.entries(form.properties)) {
      if (!form.required?.includes(name)) {
        delete field.default;
        delete field.examples;
        field.example = "";
      }
    }
  }
}

function adaptParametersAndSchemas(node) {
  if (node === null || typeof node !== "object") {
    return;
  }
  if (typeof node.pattern === "string") {
    delete node.pattern;
  }
  if (typeof node.in === "string" && typeof node.name === "string") {
    adaptParameter(node);
  }
  for (const [key, child] of Object.entries(node)) {
    if (key !== "example" && key !== "examples") {
      adaptParametersAndSchemas(child);
    }
  }
}

function adaptParameter(parameter) {
  const schema = parameter.schema ?? {};
  foldDescription(parameter);
  if (schema.default !== undefined && String(schema.default) !== "") {
    parameter.description = `${parameter.description ?? ""}\n\nDefault: \`${schema.default}\``;
  }
  if (!parameter.required) {
    for (const key of ["default", "example", "examples"]) {
      delete parameter[key];
      delete schema[key];
    }
  }
}

/* Folds the long description of an object, except for its first paragraph. `keepsEnd` shows also
 * its last one, which states the roles that may call an operation. */
function foldDescription(object, { keepsEnd = false } = {}) {
  const description = object.description ?? "";
  const paragraphs = description.split("\n\n");
  const end = keepsEnd ? paragraphs.length - 1 : paragraphs.length;
  const folded = paragraphs.slice(1, end);
  if (description.length > MAX_DESCRIPTION_LENGTH && folded.length > 0) {
    object.description = [
      paragraphs[0],
      "<details><summary>More</summary>",
      ...folded,
      "</details>",
      ...paragraphs.slice(end),
    ].join("\n\n");
  }
}

/* Folds error responses, response headers and links, so that an operation fits the screen. */
const Folding = ({ React: { createElement, Fragment } }) => {
  const foldComponent = (summary, component, props, className = "") =>
    createElement(
      "details",
      { className },
      createElement("summary", null, summary),
      createElement(component, props),
    );
  const isError = (response, status) => /^[45]/.test(status);
  return {
    wrapComponents: {
      responses: (Original) => (props) => {
        const errors = props.responses.filter(isError);
        if (errors.size === props.responses.size) {
          return createElement(Original, props);
        }
        const successProps = { ...props, responses: props.responses.filterNot(isError) };
        const errorProps = { ...props, responses: errors, tryItOutResponse: null };
        const summary = `Errors: ${errors.keySeq().join(", ")}`;
        return createElement(
          Fragment,
          null,
          createElement(Original, successProps),
          errors.size > 0 && foldComponent(summary, Original, errorProps, "error-responses"),
        );
      },
      headers: (Original) => (props) =>
        foldComponent(`Headers: ${props.headers.keySeq().join(", ")}`, Original, props),
      operationLink: (Original) => (props) => foldComponent(props.name, Original, props),
      // Swagger UI would send an empty file for a file that is not chosen.
      ParameterIncludeEmpty: () => () => null,
    },
  };
};

const container = document.getElementById("swagger-ui");
const darkColors = window.matchMedia("(prefers-color-scheme: dark)");
function applyColors() {
  document.documentElement.classList.toggle("dark-mode", darkColors.matches);
}
darkColors.addEventListener("change", applyColors);
applyColors();

SwaggerUIBundle({
  url: container.dataset.openapiUrl,
  domNode: container,
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  // Fold the list of all schemas at the end of the page.
  defaultModelsExpandDepth: 0,
  plugins: [AdaptDocument, Padlocks, LoginForm, Folding],
});
