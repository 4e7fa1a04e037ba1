// How the command that a resume starts is told of new ports.

/**
 * @param {Record<string, number>} ports
 * @returns {Record<string, string>} `WAYMARK_PORT_<NAME>`
 */
function portVariables(ports) {
  return Object.fromEntries(
    Object.entries(ports).map(([name, port]) => [
      `WAYMARK_PORT_${name.toUpperCase().replace(/\W/g, '_')}`,
      `${port}`,
    ]),
  );
}

module.exports = { portVariables };
