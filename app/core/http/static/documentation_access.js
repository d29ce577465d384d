/* Plugins for Swagger UI that show which operations can be called, and log the user in. */
"use strict";

/*
 * Shows a closed padlock at an operation that needs a login, and an open one if it can be called.
 *
 * Swagger UI shows a closed padlock if the user is authorized. It also takes an operation that does
 * not require a token for one of an authorized user, and does not know the scopes of the token.
 */
const Padlocks = (system) => ({
  statePlugins: {
    auth: {
      wrapSelectors: {
        isAuthorized: () => (state, security) =>
          isCallable(security, system.authSelectors.authorized()),
      },
    },
  },
  wrapComponents: {
    authorizeOperationBtn: (Original, { React }) => ({ isAuthorized, onClick, getComponent }) => {
      const { createElement: h } = React;
      const icon = isAuthorized ? "UnlockAuthOperationIcon" : "LockAuthOperationIcon";
      const className = isAuthorized ? "unlocked" : "locked";
      const label = isAuthorized
        ? "Unlocked: no token is required, or yours is sent"
        : "Locked: log in to call this operation";
      return h(
        "button",
        { className: "authorization__btn", title: label, "aria-label": label, onClick },
        h(getComponent(icon, true), { className }),
      );
    },
    authorizeBtn: (Original, { React }) => ({ isAuthorized, showPopup, onClick, getComponent }) =>
      React.createElement(
        "div",
        { className: "auth-wrapper" },
        React.createElement(
          "button",
          { className: "btn authorize", type: "button", onClick },
          isAuthorized ? "Logged in" : "Authorize",
        ),
        showPopup && React.createElement(getComponent("authorizationPopup", true)),
      ),
  },
});

/* Returns whether one of the alternative security requirements is met, or there are none. */
function isCallable(security, authorizations) {
  const isMet = (scopes, name) => {
    const grantedScopes = authorizations.getIn([name, "token", "scope"])?.split(" ") ?? scopes;
    return authorizations.has(name) && scopes.every((scope) => grantedScopes.includes(scope));
  };
  return !security || security.isEmpty() || security.some((requirement) => requirement.every(isMet));
}

/*
 * Replaces the form of the OAuth2 password flow.
 *
 * Swagger UI asks for a client id and a secret, which the service does not have, does not say what
 * the user name is, and submits neither with Enter nor to the password manager of the browser.
 */
const LoginForm = () => ({
  wrapComponents: {
    oauth2: (Original, { React }) => (props) =>
      props.schema.get("flow") === "password"
        ? React.createElement(PasswordLogin, { ...props, React })
        : React.createElement(Original, props),
  },
});

function PasswordLogin({ React, name, schema, getComponent, ...system }) {
  const { authActions, authSelectors, errActions, errSelectors } = system;
  const h = React.createElement;
  const close = () => authActions.showDefinitions(false);
  React.useEffect(() => {
    const closeOnEscape = (event) => event.key === "Escape" && close();
    document.addEventListener("keydown", closeOnEscape);
    return () => document.removeEventListener("keydown", closeOnEscape);
  }, []);
  const closeAttributes = { type: "button", className: "btn btn-done", onClick: close };
  const closeButton = h("button", closeAttributes, "Close");

  const authorization = authSelectors.authorized().get(name);
  if (authorization) {
    const logOut = () => authActions.logoutWithPersistOption([name]);
    return h(
      "div",
      { className: "login" },
      h("h4", { role: "status" }, `Logged in as ${authorization.get("username")}`),
      h("p", null, "Requests are sent with your token."),
      h(
        "div",
        { className: "login-buttons" },
        h("button", { type: "button", className: "btn btn-logout", onClick: logOut }, "Log out"),
        closeButton,
      ),
    );
  }

  const logIn = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    errActions.clear({ authId: name, type: "auth", source: "auth" });
    authActions.authorizePassword({
      name,
      schema,
      username: form.get("username"),
      password: form.get("password"),
      scopes: form.getAll("scope"),
      // There is no client id to send.
      passwordType: "request-body",
    });
  };
  const input = (label, attributes) =>
    h("label", null, label, h("input", { required: true, ...attributes }));
  const scopeInput = ([scope, description]) => {
    const attributes = { type: "checkbox", name: "scope", value: scope, defaultChecked: true };
    return h("label", { key: scope }, h("input", attributes), ` ${description}`);
  };
  const scopeInputs = schema.get("scopes").entrySeq().map(scopeInput);
  const errors = errSelectors.allErrors().filter((error) => error.get("authId") === name);
  const failures = errors.map((error, key) =>
    h("p", { key, role: "alert" }, `The login failed: ${error.get("message")}`),
  );
  return h(
    "form",
    { className: "login", onSubmit: logIn },
    h("h4", null, "Login"),
    h(getComponent("Markdown", true), { source: schema.get("description") ?? "" }),
    input("Email", { type: "email", name: "username", autoComplete: "username", autoFocus: true }),
    input("Password", { type: "password", name: "password", autoComplete: "current-password" }),
    h("fieldset", null, h("legend", null, "Scopes"), scopeInputs.toArray()),
    failures.toArray(),
    h(
      "div",
      { className: "login-buttons" },
      h("button", { type: "submit", className: "btn authorize" }, "Log in"),
      closeButton,
    ),
  );
}
