// What kinds of failures there are and how each is known: data, read from top to bottom. The first that fits
// names the failure's class. `recovery.classes` of the configuration comes before these.

/**
 * How a class is known; everything that is given has to hold, of a list one.
 * @typedef {object} ClassSign
 * @property {string} class
 * @property {string[]} [kinds] how the work ended: `exit`, `signal`, `time_limit`, `stalled`, `not_started`, `error`, `status`
 * @property {number[]} [exitCodes]
 * @property {string[]} [signals]
 * @property {string[]} [codes] of the error, or named in its text
 * @property {string} [text] a regular expression for the error's text, whatever the case
 */

/** @type {readonly Readonly<ClassSign>[]} */
const CLASSES = [
  { class: 'timeout', kinds: ['time_limit'] },
  { class: 'stalled', kinds: ['stalled'] },
  { class: 'not_started', kinds: ['not_started'] },
  { class: 'not_started', exitCodes: [126, 127] },
  { class: 'lease', codes: ['ERR_LEASE_LOST', 'ERR_LEASE_HELD'] },
  { class: 'disk_full', codes: ['ENOSPC', 'EDQUOT', 'ERR_DISK_FULL', 'ERR_STORE_BUDGET'] },
  { class: 'memory', exitCodes: [42] },
  {
    class: 'memory',
    codes: ['ERR_WORKER_OUT_OF_MEMORY', 'ENOMEM'],
  },
  { class: 'memory', text: 'heap out of memory|allocation failed|cannot allocate memory' },
  { class: 'crash', exitCodes: [132, 134, 135, 136, 139] },
  { class: 'crash', signals: ['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP'] },
  // Nobody but the system's memory killer, or a person, sends it.
  { class: 'killed', signals: ['SIGKILL'] },
  { class: 'killed', exitCodes: [137] },
  { class: 'stopped', kinds: ['signal'] },
  { class: 'stopped', exitCodes: [129, 130, 143] },
  {
    class: 'network',
    codes: [
      'ECONNRESET',
      'ECONNREFUSED',
      'ECONNABORTED',
      'ETIMEDOUT',
      'EPIPE',
      'ENOTFOUND',
      'EAI_AGAIN',
      'EHOSTUNREACH',
      'ENETUNREACH',
      'UND_ERR_CONNECT_TIMEOUT',
      'UND_ERR_SOCKET',
    ],
  },
  {
    class: 'overloaded',
    text: '\\b(429|502|503|504|529)\\b.{0,40}(too many|rate|unavailable|overloaded|bad gateway|timeout)|rate.?limit|too many requests|overloaded',
  },
  { class: 'permission', codes: ['EACCES', 'EPERM', 'EROFS'] },
  { class: 'missing', codes: ['ENOENT', 'MODULE_NOT_FOUND', 'ERR_MODULE_NOT_FOUND'] },
  { class: 'checkpoint', text: '\\[ERR_[A-Z_]+\\]$' },
  { class: 'status', kinds: ['status'] },
  { class: 'unexpected', exitCodes: [2] },
  { class: 'error', kinds: ['exit', 'error'] },
];

/** What the class of a failure suggests to a person. @type {Readonly<Record<string, string>>} */
const ADVICE = {
  timeout: 'raise the time limit of the step, or have it split into smaller parts',
  stalled: 'look what the process waits for; its last output is below',
  not_started: 'check the command: its program was not found or may not be executed',
  lease: 'another process has taken the run over; let that one go on, or end it first',
  disk_full: 'free space on the disk (waymark gc, waymark prune), then retry',
  memory: 'give the process more memory, use a larger worker, or split the step',
  crash:
    'the process died of a defect in native code or of the system; try another version or worker',
  killed: 'the process was killed from outside, often by the system because memory was short',
  stopped: 'the process was asked to stop; retry when that is over',
  network: 'check the connection and the service it names, then retry',
  overloaded: 'the service refuses more work for now; retry later or with less at once',
  permission: 'mend the permissions of what the message names, then retry',
  missing:
    'something the step needs is not there: bring it back, or restart from the step that makes it',
  checkpoint: 'mend what the message names; the run is at the checkpoint before',
  status: 'the runner itself calls the run failed: look at its gates and reports',
  unexpected: 'the runner met what it did not expect: look at its output',
  error: 'look at the error below; mend the cause, then retry',
};

module.exports = { ADVICE, CLASSES };
