// Runs cases one after the other, and prints what each gave as one JSON object, by name.

const CASE_TIMEOUT_MS = 60_000;

export const { BASE_URL, FAKE_BASE_URL, KEY, MODEL } = process.env;
export const shapes = JSON.parse(process.env.SHAPES);

export async function run(cases) {
  const results = {};
  for (const [name, ask] of Object.entries(cases)) {
    results[name] = await outcome(ask);
  }
  process.stdout.write(JSON.stringify(results));
}

async function outcome(ask) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${CASE_TIMEOUT_MS} ms`)), CASE_TIMEOUT_MS);
  });
  try {
    return (await Promise.race([ask(), timeout])) ?? null;
  } catch (error) {
    return { error: described(error) };
  } finally {
    clearTimeout(timer);
  }
}

export function described(error) {
  const { name, message, status, statusCode, code, param, type, data, responseBody } = error;
  return { class: error.constructor.name, name, message, status, statusCode, code, param, type, data, responseBody };
}

export async function all(stream) {
  const items = [];
  for await (const item of await stream) {
    items.push(item);
  }
  return items;
}

// Whether nothing is computed soon: the answers of which this is asked would take many minutes.
export async function isFreed() {
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline) {
    const response = await fetch(`${FAKE_BASE_URL}/status`, { headers: { Authorization: `Bearer ${KEY}` } });
    const status = await response.json();
    if (!status.requests.length && !status.queue.running) {
      return true;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return false;
}
