// Bundles the page into dist/. `node build.mjs --watch` rebuilds on change.
import { cp, mkdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const watch = process.argv.includes("--watch");

await rm(here("dist"), { recursive: true, force: true });
await mkdir(here("dist"), { recursive: true });
await cp(here("src/index.html"), here("dist/index.html"));

const options = {
  entryPoints: { app: here("src/main.js"), style: here("src/style.css") },
  outdir: here("dist"),
  bundle: true,
  format: "esm",
  target: ["es2022", "chrome109", "firefox115", "safari16.4"],
  minify: !watch,
  sourcemap: watch,
  logLevel: "info",
};

if (watch) await (await esbuild.context(options)).watch();
else await esbuild.build(options);
