import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["type-check/"] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2022, sourceType: "module" },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      curly: ["error", "multi-line"],
      eqeqeq: "error",
      "no-implicit-coercion": "error",
      "no-restricted-properties": ["error", { property: "innerHTML", message: "Set textContent instead." }],
      "no-shadow": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
    },
  },
  // The reader and the renderer need neither a browser nor Node.
  {
    files: ["fgs-image.js", "{app,data,dom,facts,png,scene,shaders,view,view-state,viewer,webgl}.js"],
    languageOptions: { globals: globals.browser },
  },
  // Weights are loaded with what both have.
  { files: ["load-models.js", "codec/tensors.js"], languageOptions: { globals: globals["shared-node-browser"] } },
  { files: ["test/*.js"], languageOptions: { globals: globals.node } },
];
