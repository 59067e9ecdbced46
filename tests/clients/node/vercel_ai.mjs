// The Vercel AI SDK: the same questions through each of its three ways to an OpenAI server.

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, embedMany, generateObject, generateText, isStepCount, Output, streamObject, streamText, tool } from "ai";
import { z } from "zod";

import { all, BASE_URL, FAKE_BASE_URL, isFreed, KEY, MODEL, run, shapes } from "./cases.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const openai = createOpenAI({ baseURL: BASE_URL, apiKey: KEY });
const compatible = createOpenAICompatible({
  name: "hoshikage",
  baseURL: BASE_URL,
  apiKey: KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const ways = {
  chat: [openai.chat(MODEL), createOpenAI({ baseURL: FAKE_BASE_URL, apiKey: KEY }).chat("m")],
  compatible: [
    compatible.chatModel(MODEL),
    createOpenAICompatible({ name: "fake", baseURL: FAKE_BASE_URL, apiKey: KEY }).chatModel("m"),
  ],
  responses: [openai.responses(MODEL), createOpenAI({ baseURL: FAKE_BASE_URL, apiKey: KEY }).responses("m")],
};
const unknown = {
  chat: openai.chat("nobody"),
  compatible: compatible.chatModel("nobody"),
  responses: openai.responses("nobody"),
};

const Weather = z.object({
  city: z.enum(["Kyoto", "Sapporo", "Naha"]),
  is_raining: z.boolean(),
  sky: z.enum(["blue", "grey", "black"]).nullable(),
});
const Place = z.object({ city: z.enum(["Kyoto", "Sapporo", "Naha"]) });
const tools = {
  look: tool({ description: "Looks at the sky of a city.", inputSchema: Place, strict: true }),
  ring: tool({ description: "Rings at an hour.", inputSchema: z.object({ hour: z.enum(["6", "7"]) }), strict: true }),
};
const prompt = "What is the weather in Kyoto?";
const settings = { prompt, temperature: 0, maxRetries: 0, maxOutputTokens: 24 };
const shaped = { ...settings, maxOutputTokens: shapes.max_tokens };

const told = ({ text, finishReason, usage, toolCalls }) => ({
  text,
  finishReason,
  usage,
  calls: toolCalls.map(({ toolName, input }) => ({ toolName, input })),
});
// An error inside a stream is told apart from the text; here it is thrown.
const quiet = { onError: () => {} };

async function streamed(options) {
  const result = streamText({ ...quiet, ...options });
  const parts = await all(result.fullStream);
  const failed = parts.find((part) => part.type === "error");
  if (failed) {
    throw failed.error;
  }
  return {
    pieces: parts.filter((part) => part.type === "text-delta").map((part) => part.text),
    inputs: parts.filter((part) => part.type === "tool-input-delta").map((part) => part.delta),
    ...told({
      text: await result.text,
      finishReason: await result.finishReason,
      usage: await result.usage,
      toolCalls: await result.toolCalls,
    }),
  };
}

const cases = {};
for (const [way, [model, fake]] of Object.entries(ways)) {
  const forced = { ...shaped, model, tools, toolChoice: { type: "tool", toolName: "look" } };
  Object.assign(cases, {
    [`${way} plain`]: async () => told(await generateText({ ...settings, model })),
    [`${way} streamed`]: () => streamed({ ...settings, model }),
    [`${way} required`]: async () => told(await generateText({ ...shaped, model, tools, toolChoice: "required" })),
    [`${way} named`]: async () => told(await generateText(forced)),
    [`${way} streamed call`]: () => streamed(forced),
    [`${way} auto`]: async () => told(await generateText({ ...shaped, model, tools })),
    [`${way} loop`]: async () => {
      const looked = [];
      const execute = async ({ city }) => {
        looked.push(city);
        return { sky: "grey" };
      };
      const look = tool({ description: "Looks at the sky of a city.", inputSchema: Place, strict: true, execute });
      const { steps } = await generateText({
        ...shaped,
        model,
        tools: { look },
        stopWhen: isStepCount(2),
        prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber ? "none" : "required" }),
      });
      return { looked, finishReasons: steps.map((step) => step.finishReason) };
    },
    [`${way} output`]: async () => {
      const { output } = await generateText({ ...shaped, model, output: Output.object({ schema: Weather }) });
      return output;
    },
    [`${way} object`]: async () => (await generateObject({ ...shaped, model, schema: Weather })).object,
    [`${way} streamed object`]: async () => {
      const result = streamObject({ ...shaped, ...quiet, model, schema: Weather });
      const partial = await all(result.partialObjectStream);
      return { n: partial.length, object: await result.object };
    },
    [`${way} unknown model`]: () => generateText({ ...settings, model: unknown[way] }),
    [`${way} unknown model streamed`]: () => streamed({ ...settings, model: unknown[way] }),
    [`${way} too long`]: () => generateText({ ...settings, model, prompt: "x".repeat(40_000) }),
    [`${way} abort`]: async () => {
      const controller = new AbortController();
      const options = { model: fake, prompt: "count 100000 5", maxRetries: 0, abortSignal: controller.signal };
      const { textStream } = streamText({ ...quiet, ...options });
      let n = 0;
      for await (const _ of textStream) {
        n += 1;
        controller.abort();
      }
      return { n, is_freed: await isFreed() };
    },
  });
}
for (const [way, model] of Object.entries({
  chat: openai.embedding(MODEL),
  compatible: compatible.embeddingModel(MODEL),
})) {
  cases[`${way} embed`] = async () => (await embed({ model, value: "a", maxRetries: 0 })).embedding;
  cases[`${way} embed many`] = async () => (await embedMany({ model, values: ["a", "b"], maxRetries: 0 })).embeddings;
}
cases["stop sequences"] = async () =>
  told(await generateText({ ...settings, model: ways.chat[0], stopSequences: ["a", "e"] }));
cases["wrong key"] = () =>
  generateText({ ...settings, model: createOpenAI({ baseURL: BASE_URL, apiKey: "wrong" }).chat(MODEL) });

await run(cases);
