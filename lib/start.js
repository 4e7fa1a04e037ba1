// What a step's process, and the command, begins with. In the published package another file stands in its place, which
// gives what lies in the bundles and can take it from what Node compiled before (scripts/bundle.mjs); here each file of lib
// is loaded by itself.

module.exports = {
  /**
   * From here on what is loaded may come from what Node compiled before.
   * @param {'step' | 'resume' | 'command'} _kind of process, which says what it will call
   */
  quicken(_kind) {},
  /**
   * A file of the package, as `require` gives it.
   * @param {string} name such as `lib/preload.js`
   */
  load: (name) => require(`../${name}`),
  /**
   * Runs a file of the command.
   * @param {string} name such as `cli/main.mjs`
   * @returns {unknown}
   */
  run: (name) => import(`../${name}`),
};
