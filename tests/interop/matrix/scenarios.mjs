// What every kind of peer has to go through with each of our elements.
//
// A scenario gets a `Meeting`. `against` are the elements it is for; `kinds` the peers, if not all; `orders` whether it
// makes a difference who comes first; `flags` are for the server.
import assert from "node:assert/strict";
import { sleep } from "../browser/process.mjs";
import { BOTH, Meeting } from "./meeting.mjs";

export const SCENARIOS = [
  {
    name: "media both ways",
    against: ["sink", "src"],
    orders: true,
    async run(meeting) {
      await meeting.begin({ kinds: BOTH });
      await meeting.flows();
      await meeting.harmless();
    },
  },
  {
    name: "a peer that only watches",
    against: ["sink"],
    orders: true,
    async run(meeting) {
      await meeting.begin();
      await meeting.flows();
      await meeting.harmless();
    },
  },
];
