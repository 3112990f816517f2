// A client on the second official TypeScript SDK, which speaks both eras: client_v2.mjs MODULES SCRIPT
//
// As client.mjs, for tool calls alone. `target` is a URL; `era` is "handshake" or "modern"; `headers` are sent along.

import { readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, file] = process.argv.slice(2);
const require = createRequire(join(realpathSync(modules), "any.js"));
const { Client, ProtocolError, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");

const { target, era, answers, steps, headers } = JSON.parse(readFileSync(file, "utf8"));
const seen = { era: null, results: [], asked: [], progress: [] };

const capabilities = {};
if (answers.sampling) capabilities.sampling = {};
if (answers.elicitation) capabilities.elicitation = { form: {}, url: {} };
if (answers.roots) capabilities.roots = {};
const mode = era === "modern" ? { pin: "2026-07-28" } : "legacy";
const client = new Client(
  { name: `typescript-client-v2-${era}`, version: "1.0.0" },
  { capabilities, versionNegotiation: { mode } },
);
const kinds = { sampling: "sampling/createMessage", elicitation: "elicitation/create", roots: "roots/list" };
for (const [kind, method] of Object.entries(kinds)) {
  if (!answers[kind]) continue;
  client.setRequestHandler(method, (request) => {
    seen.asked.push([request.method, request.params ?? {}]);
    return answers[kind];
  });
}

await client.connect(new StreamableHTTPClientTransport(new URL(target), { requestInit: { headers } }));
seen.era = client.getProtocolEra();
for (const { params, progress } of steps) {
  const options = progress ? { onprogress: (each) => seen.progress.push(each) } : {};
  try {
    seen.results.push({ result: await client.callTool(params, options) });
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    seen.results.push({ error: { code: error.code, message: error.message } });
  }
}
await client.close();
process.stdout.write(JSON.stringify(seen));
