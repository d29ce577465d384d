/* Plugins for Swagger UI that show which operations can be called, and log the user in. */
"use strict";

/*
 * Shows a closed padlock at an operation that needs a login, and an open one if it can be called.
 *
 * Swagger UI shows a closed padlock if the user is authorized. It also takes an operation that does
 * not require a token for one of an authorized user, and does not know the scopes of the token.
 */
const Padlocks = ({ React: { createElement } }) => ({
  statePlugins: {
    auth: {
      wrapSelectors: {
        isAuthorized: (original, { authSelectors }) => (state, security) =>
          isCallable(security, authSelectors.authorized()),
        // Offer all scopes at each padlock, and not only that of its operation, because the token
        // is sent with the requests of all operations.
        definitionsForRequirements: (original, { authSelectors }) => () =>
          authSelectors.definitionsToAuthorize(),
      },
    },
  },
  wrapComponents: {
    authorizeOperationBtn: () => ({ isAuthorized, onClick, getComponent }) => {
      const icon = isAuthorized ? "UnlockAuthOperationIcon" : "LockAuthOperationIcon";
      const className = isAuthorized ? "unlocked" : "locked";
      const label = isAuthorized
        ? "Unlocked: no token is required, or yours is sent"
        : "Locked: log in to call this operation";
      return createElement(
        "button",
        { className: "authorization__btn", title: label, "aria-label": label, onClick },
        createElement(getComponent(icon, true), { className }),
      );
    },
    authorizeBtn: () => ({ isAuthorized, showPopup, onClick, getComponent }) =>
      createElement(
        "div",
        { className: "auth-wrapper" },
        createElement(
          "button",
          { className: "btn authorize", type: "button", onClick },
          isAuthorized ? "Logged in" : "Authorize",
        ),
        showPopup && createElement(getComponent("authorizationPopup", true)),
      ),
  },
});

/* Returns whether one of the alternative security requirements is met, or there are none. */
function isCallable(security, authorizations) {
  const isMet = (scopes, name) => {
    const grantedScopes = authorizations.getIn([name, "token", "scope"])?.split(" ") ?? scopes;
    return authorizations.has(name) && scopes.every((scope) => grantedScopes.includes(scope));
  };
  const isOpen = !security || security.isEmpty();
  return isOpen || security.some((requirement) => requirement.every(isMet));
}

/*
 * Replaces the form of the OAuth2 password flow.
 *
 * Swagger UI asks for a client id and a secret, which the service does not have, does not say what
 * the user name is, does not show why a login failed, and submits neither with Enter nor to the
 * password manager of the browser.
 */
const LoginForm = ({ React }) => ({
  wrapComponents: {
    oauth2: (Original) => (props) =>
      props.schema.get("flow") === "password"
        ? React.createElement(PasswordLogin, { ...props, React })
        : React.createElement(Original, props),
  },
});

function PasswordLogin({ React, name, schema, getComponent, authActions, ...system }) {
  const { createElement } = React;
  const [failure, setFailure] = React.useState("");
  const close = () => authActions.showDefinitions(false);
  React.useEffect(() => {
    const closeOnEscape = (event) => event.key === "Escape" && close();
    document.addEventListener("keydown", closeOnEscape);
    return () => document.removeEventListener("keydown", closeOnEscape);
  }, []);
  const button = (text, attributes) =>
    createElement("button", { type: "button", ...attributes }, text);
  const closeButton = button("Close", { className: "btn btn-done", onClick: close });

  const authorization = system.authSelectors.authorized().get(name);
  if (authorization) {
    const logOut = () => authActions.logoutWithPersistOption([name]);
    return createElement(
      "div",
      { className: "login" },
      createElement("h4", { role: "status" }, `Logged in as ${authorization.get("username")}`),
      createElement("p", null, "Requests are sent with your token."),
      createElement(
        "div",
        { className: "login-buttons" },
        button("Log out", { className: "btn btn-logout", onClick: logOut }),
        closeButton,
      ),
    );
  }

  const logIn = async (event) => {
    event.preventDefault();
    setFailure("");
    try {
      const form = new FormData(event.target);
      const token = await requestToken(schema.get("tokenUrl"), system.specSelectors.url(), form);
      const auth = { name, schema, username: form.get("username") };
      authActions.authorizeOauth2WithPersistOption({ auth, token });
    } catch (error) {
      setFailure(error.message);
    }
  };
  const input = (label, attributes) =>
    createElement("label", null, label, createElement("input", { required: true, ...attributes }));
  const scopeInput = ([scope, description]) => {
    const attributes = { type: "checkbox", name: "scope", value: scope, defaultChecked: true };
    const checkbox = createElement("input", attributes);
    return createElement("label", { key: scope }, checkbox, ` ${description}`);
  };
  const scopeInputs = schema.get("scopes").entrySeq().map(scopeInput).toArray();
  return createElement(
    "form",
    { className: "login", onSubmit: logIn },
    createElement("h4", null, "Login"),
    createElement(getComponent("Markdown", true), { source: schema.get("description") ?? "" }),
    input("Email", { type: "email", name: "username", autoComplete: "username", autoFocus: true }),
    input("Password", { type: "password", name: "password", autoComplete: "current-password" }),
    createElement("fieldset", null, createElement("legend", null, "Scopes"), scopeInputs),
    failure && createElement("p", { role: "alert" }, `The login failed: ${failure}`),
    createElement(
      "div",
      { className: "login-buttons" },
      button("Log in", { type: "submit", className: "btn authorize" }),
      closeButton,
    ),
  );
}

/* Logs in with a form, and returns the token. If that fails, throws an error that says why. */
async function requestToken(tokenUrl, documentUrl, form) {
  // A relative URL in the OpenAPI document is relative to the document.
  const url = new URL(tokenUrl, new URL(documentUrl, location));
  const body = new URLSearchParams({
    grant_type: "password",
    username: form.get("username"),
    password: form.get("password"),
    scope: form.getAll("scope").join(" "),
  });
  const response = await fetch(url, { method: "POST", body });
  const content = await response.json();
  if (!response.ok) {
    throw new Error(content.detail);
  }
  return content;
}
