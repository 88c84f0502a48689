// What a threshold means: the rate at which two pictures of two people reach it (FAR), from the model card's table.

/**
 * Return the FAR of a similarity: linear in log10(FAR) between the points of the table.
 *
 * @param {{far: number, similarity: number}[]} table
 * @returns {{far: number, beyond: ""|"<"|">"} | null} `beyond` where the similarity lies outside of what was measured:
 *   the true rate is then below (or above) `far`; null without a table
 */
export function farAt(similarity, table) {
  const points = [...(table ?? [])].filter((point) => point.far > 0).sort((a, b) => a.similarity - b.similarity);
  if (points.length === 0) return null;
  const last = points[points.length - 1];
  if (similarity < points[0].similarity) return { far: points[0].far, beyond: ">" };
  if (similarity > last.similarity) return { far: last.far, beyond: "<" };
  const after = points.findIndex((point) => point.similarity >= similarity);
  if (after === 0) return { far: points[0].far, beyond: "" };
  const [low, high] = [points[after - 1], points[after]];
  const part = (similarity - low.similarity) / (high.similarity - low.similarity);
  const logarithm = Math.log10(low.far) + part * (Math.log10(high.far) - Math.log10(low.far));
  return { far: 10 ** logarithm, beyond: "" };
}

/** "1 in 12,000": a rate as people say it, two digits precise. */
export function oneIn(far) {
  return Number((1 / far).toPrecision(2)).toLocaleString("en");
}
