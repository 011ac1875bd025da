// Progress by BullMQ: updates one at a time, then at a steady rate while QueueEvents listens.
// REDIS_URL=… node bullmq.mjs COUNT RATE SECONDS; prints one line of JSON. BullMQ is installed beside it.
import { Queue, QueueEvents } from "bullmq";

const [count, rate, seconds] = process.argv.slice(2).map(Number);
const { hostname, port, password } = new URL(process.env.REDIS_URL);
const connection = { host: hostname, port: Number(port), password, maxRetriesPerRequest: null };
const queue = new Queue("bench", { connection });
const events = new QueueEvents("bench", { connection });
const step = { worker: "worker-1", step: "sheet-4", percent: 40, step_index: 4, step_total: 9 };

async function oneAtATime(job) {
  const cpu = process.cpuUsage();
  const began = performance.now();
  for (let done = 0; done < count; done++) await job.updateProgress({ ...step, percent: done });
  const elapsed = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { rate: count / elapsed, cpu_us: (user + system) / count };
}

async function atASteadyRate(job) {
  const latencies = [];
  events.on("progress", ({ data }) => {
    if (data.sent) latencies.push(performance.now() - data.sent);
  });
  const total = rate * seconds;
  const began = performance.now();
  const updates = [];
  for (let sent = 0; sent < total; sent++) {
    const early = began + (1000 * sent) / rate - performance.now();
    if (early > 1) await new Promise((later) => setTimeout(later, early));
    updates.push(job.updateProgress({ ...step, sent: performance.now() }));
  }
  await Promise.all(updates);
  const deadline = performance.now() + 10_000;
  while (latencies.length < total && performance.now() < deadline) {
    await new Promise((later) => setTimeout(later, 5));
  }
  return { latencies, total };
}

await events.waitUntilReady();
const job = await queue.add("work", {});
await oneAtATime(job); // so that all code is compiled
const single = await oneAtATime(job);
const steady = await atASteadyRate(job);
console.log(JSON.stringify({ single, steady }));
await events.close();
await queue.close();
process.exit(0);
