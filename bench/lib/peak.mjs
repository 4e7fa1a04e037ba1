// Prints how much memory a process of its own needs for a first capture by Waymark.
//
//   node bench/lib/peak.mjs <folder> <empty folder for the store>

import { openCapture } from './waymark_capture.mjs';

const [folder, place] = process.argv.slice(2);
const opened = await openCapture(folder, place);
// Kilobytes, says libuv on every platform.
const idle = process.resourceUsage().maxRSS * 1024;
await opened.capture(0);
const peak = process.resourceUsage().maxRSS * 1024;
await opened.close?.();
console.log(JSON.stringify({ idle, peak }));
