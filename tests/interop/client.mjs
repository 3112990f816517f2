// A client on the official TypeScript SDK that does what a file tells it: client.mjs MODULES SCRIPT
//
// MODULES is a folder whose node_modules has @modelcontextprotocol/sdk. SCRIPT is JSON: `target` (a URL,
// or {command, args}), `answers` (what it answers, by kind; a kind without an answer is not declared),
// `steps` ({method, params, progress, pages} to call, or {until} to wait for a notification). Prints what it saw.

import { readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, file] = process.argv.slice(2);
const require = createRequire(join(realpathSync(modules), "any.js"));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const types = require("@modelcontextprotocol/sdk/types.js");

const { target, answers, steps } = JSON.parse(readFileSync(file, "utf8"));
const seen = { results: [], asked: [], notified: [], progress: [] };
let wake = () => {};

const capabilities = {};
if (answers.sampling) capabilities.sampling = {};
if (answers.elicitation) capabilities.elicitation = { form: {}, url: {} };
if (answers.roots) capabilities.roots = { listChanged: true };

const client = new Client({ name: "typescript-client", version: "1.0.0" }, { capabilities });
const answer = (schema, kind) =>
  client.setRequestHandler(schema, (request) => {
    seen.asked.push([request.method, request.params ?? {}]);
    return answers[kind];
  });
if (answers.sampling) answer(types.CreateMessageRequestSchema, "sampling");
if (answers.elicitation) answer(types.ElicitRequestSchema, "elicitation");
if (answers.roots) answer(types.ListRootsRequestSchema, "roots");
client.fallbackNotificationHandler = async (notification) => {
  seen.notified.push(notification);
  wake();
};

const options = (step) => (step.progress ? { onprogress: (progress) => seen.progress.push(progress) } : {});
const calls = {
  "tools/list": (step) => client.listTools(step.params, options(step)),
  "tools/call": (step) => client.callTool(step.params, undefined, options(step)),
  "prompts/list": (step) => client.listPrompts(step.params),
  "prompts/get": (step) => client.getPrompt(step.params),
  "resources/list": (step) => client.listResources(step.params),
  "resources/templates/list": (step) => client.listResourceTemplates(step.params),
  "resources/read": (step) => client.readResource(step.params),
  "resources/subscribe": (step) => client.subscribeResource(step.params),
  "resources/unsubscribe": (step) => client.unsubscribeResource(step.params),
  "completion/complete": (step) => client.complete(step.params),
  "logging/setLevel": (step) => client.setLoggingLevel(step.params.level),
  ping: () => client.ping(),
};

async function until(method) {
  while (!seen.notified.some((notification) => notification.method === method)) {
    await new Promise((resolve) => (wake = resolve));
  }
}

async function take(step) {
  if (step.until) return until(step.until);
  try {
    const result = await calls[step.method](step);
    seen.results.push({ result });
    const cursor = result.nextCursor;
    if (step.pages && cursor !== undefined) await take({ ...step, params: { cursor } });
  } catch (error) {
    if (!(error instanceof types.McpError)) throw error;
    seen.results.push({ error: { code: error.code, message: error.message } });
  }
}

await client.connect(
  typeof target === "string"
    ? new StreamableHTTPClientTransport(new URL(target))
    : new StdioClientTransport({ ...target, stderr: "inherit" }),
);
seen.instructions = client.getInstructions();
seen.capabilities = client.getServerCapabilities();
for (const step of steps) await take(step);
await client.close();
process.stdout.write(JSON.stringify(seen));
