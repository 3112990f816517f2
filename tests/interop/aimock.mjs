// One port that speaks the wire formats of OpenAI, Anthropic and Ollama: aimock.mjs MODULES FIXTURES
//
// MODULES is a folder whose node_modules has @copilotkit/aimock. FIXTURES is JSON: a list of
// {match, response, chaos}. Prints the address, and ends with its standard input.

import { readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, file] = process.argv.slice(2);
const require = createRequire(join(realpathSync(modules), "any.js"));
const { LLMock } = require("@copilotkit/aimock");

const mock = new LLMock({ port: 0, host: "127.0.0.1" });
for (const { match, response, ...rest } of JSON.parse(readFileSync(file, "utf8"))) mock.on(match, response, rest);
await mock.start();
console.log(mock.url);
process.stdin.resume();
process.stdin.on("end", () => mock.stop().then(() => process.exit(0)));
