// Sends many pictures, batch after batch, and follows the service's job of each until its end.

import * as api from "./api.js";

const POLL_MS = 500;
const BUSY_MS = 3000;
const PATIENCE = 40; // times that a service which is busy is asked again
const ENDED = new Set(["done", "cancelled", "failed"]);

/**
 * Enrol batches of pictures.
 *
 * @param {object[]} batches of `batchesOf`
 * @param {(progress) => void} onProgress told {done, total, enrolled, sent, problems} whenever something changed; `sent`
 *   is the share of the batch that has arrived, 0 to 1; a zip says how many pictures it has when it has arrived
 * @param {AbortSignal} signal ends it early: the running job is cancelled, what it has enrolled stays
 * @returns {Promise<object>} the last progress
 */
export async function enrolBatches(batches, onProgress, signal) {
  const sum = { done: 0, enrolled: 0, problems: [] };
  let total = batches.reduce((all, { files }) => all + files.length, 0);
  const report = (job, sent = 1) =>
    onProgress({
      done: sum.done + (job?.done ?? 0),
      enrolled: sum.enrolled + (job?.enrolled ?? 0),
      problems: [...sum.problems, ...(job?.problems ?? [])],
      total,
      sent,
    });
  for (const batch of batches) {
    if (signal.aborted) break;
    const begun = await patiently(() => api.enrolMany(batch, { onSent: (share) => report(null, share), signal }), signal);
    if (batch.zip) total += begun.total;
    const ended = await follow(begun, report, signal);
    sum.done += ended.done;
    sum.enrolled += ended.enrolled;
    sum.problems.push(...ended.problems);
  }
  report(null);
  return { ...sum, total };
}

async function follow(job, report, signal) {
  let cancelled = false;
  while (!ENDED.has(job.state)) {
    report(job);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    if (signal.aborted && !cancelled) {
      cancelled = true;
      await api.cancelJob(job.id);
    }
    job = await patiently(() => api.job(job.id));
  }
  return job;
}

/** Ask again while the service is busy, or when this key has asked too often. */
async function patiently(work, signal = null) {
  for (let turn = 0; ; turn++) {
    try {
      return await work();
    } catch (error) {
      const passes = error.code === "busy" || error.code === "rate_limited";
      if (!passes || turn >= PATIENCE || signal?.aborted) throw error;
      await new Promise((resolve) => setTimeout(resolve, BUSY_MS));
    }
  }
}
