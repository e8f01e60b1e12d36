// Every kind of peer, each of our elements, either as the polite side, either first: see scenarios.mjs.
//
//   METERED_MATRIX=full   everything, instead of each kind and each scenario once
//   METERED_MATRIX_ONLY   a regular expression: the tests with such a name, of all
import { test } from "node:test";
import { Meeting } from "./meeting.mjs";
import { KINDS, lacking } from "./peers.mjs";
import { missing } from "./room.mjs";
import { SCENARIOS } from "./scenarios.mjs";

const only = process.env.METERED_MATRIX_ONLY && new RegExp(process.env.METERED_MATRIX_ONLY);
const full = process.env.METERED_MATRIX === "full" || only;

/** The rows of a scenario: { kind, against, manners, first }. */
function* rows({ against, kinds = KINDS, orders = false }) {
  for (const kind of kinds)
    for (const element of against)
      for (const manners of ["polite", "impolite"])
        for (const first of orders ? ["peer", "element"] : ["element"])
          yield { kind, against: element, manners, first };
}

const title = ({ name }, { kind, against, manners, first }) =>
  `${name}: ${kind}, ${manners}, with our ${against}, ${first === "peer" ? "there first" : "comes last"}`;

for (const scenario of SCENARIOS) {
  const all = [...rows(scenario)];
  const chosen = (row) => scenario.sample.some((each) => Object.entries(each).every(([key, value]) => row[key] === value));
  for (const row of full ? all : all.filter(chosen)) {
    const name = title(scenario, row);
    if (only && !only.test(name)) continue;
    const skip = missing() || lacking(row.kind) || scenario.known?.(row) || false;
    if (skip) console.error(`${name} skips: ${skip}`);
    test(name, { skip, timeout: scenario.timeout ?? 120_000 }, async (t) =>
      scenario.run(await Meeting.open(t, row, scenario.flags)),
    );
  }
}
