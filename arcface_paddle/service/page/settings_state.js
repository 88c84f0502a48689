// What the user set for this tab: the threshold of names. The service's own holds while nothing is set.

let chosen = null;

/** @returns {number|null} least similarity of a name; null: as the service has it */
export const threshold = () => chosen;
export const chooseThreshold = (similarity) => (chosen = similarity);
