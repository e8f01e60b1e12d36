// A viewer in Chromium as a program of its own, so that it can be on another host:
//
//   node viewer.mjs PAGE-URL
//
// Tells on standard output how many pictures it has decoded, as {"decoded": N} for each news, until its standard input
// ends.
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.env.METERED_CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--autoplay-policy=no-user-gesture-required"],
});
const page = await browser.newPage();
await page.goto(process.argv[2]);

let ended = false;
process.stdin.on("end", () => (ended = true)).resume();

// Runs in the page.
async function count() {
  const demo = window.meteredDemo;
  const peers = demo ? await demo.peers() : [];
  const all = (await Promise.all(peers.map(({ peerId }) => demo.inbound(peerId)))).flat();
  return all.reduce((sum, { framesDecoded }) => sum + (framesDecoded ?? 0), 0);
}

let last = -1;
while (!ended) {
  const decoded = await page.evaluate(count);
  if (decoded !== last) console.log(JSON.stringify({ decoded: (last = decoded) }));
  await new Promise((resolve) => setTimeout(resolve, 200));
}
await browser.close();
