// Seeds of one setting as a band: from least to greatest, and the median between them.
function banded(lines) {
  const groups = new Map();
  for (const line of lines) {
    const key = `${line.run.group} ${line.test}`;
    groups.set(key, [...(groups.get(key) ?? []), line]);
  }
  return [...groups.values()].flatMap((members) => {
    const [first] = members;
    const tables = members.map(({ xs, ys }) => new Map(xs.map((x, i) => [x, ys[i]])));
    const xs = first.xs.filter((x) => tables.every((table) => (table.get(x) ?? null) !== null));
    if (members.length < 2 || xs.length < 2) return members;
    const sorted = xs.map((x) => tables.map((table) => table.get(x)).sort((a, b) => a - b));
    const middle = (sizes) => (sizes[(sizes.length - 1) >> 1] + sizes[sizes.length >> 1]) / 2;
    return [{
      ...first, xs, ys: sorted.map(middle), count: members.length,
      low: sorted.map((sizes) => sizes[0]), high: sorted.map((sizes) => sizes.at(-1)),
    }];
  });
}
