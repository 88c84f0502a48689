// Faces of a live picture joined over time, so that a name does not flicker when one frame says otherwise.

const LEAST_OVERLAP = 0.25; // intersection over union of a face and itself half a second later: people move
const LIFE_MS = 1500; // a face may be missed in two frames of three
const LIFE_FRAMES = 3; // and a service that is busy may take longer than that for them
const SLOWEST_MS = 5000; // from frame to frame; more than that was a pause
const MEMORY = 0.7; // what remains of the votes after each frame: about three frames decide
const LEAD = 1.3; // by how much another name must lead before it replaces the one shown

export class Tracks {
  #tracks = [];
  #next = 1;
  #updated = null; // when the last frame came
  #pace = 0; // milliseconds from frame to frame, smoothed

  /**
   * Take one frame's faces; return the faces that are in view, each with its track number and settled name.
   *
   * @param {object[]} faces of /v1/identify
   * @param {number} now in milliseconds
   */
  update(faces, now) {
    const life = this.#lifeAt(now);
    this.#tracks = this.#tracks.filter((track) => now - track.seen < life);
    const free = new Set(faces);
    for (const [track, face] of this.#pairs(faces)) {
      free.delete(face);
      see(track, face, now);
    }
    for (const face of free) {
      const track = { number: this.#next++, votes: new Map(), name: null };
      this.#tracks.push(track);
      see(track, face, now);
    }
    return this.#tracks.filter((track) => track.seen === now).map(settled);
  }

  /** How long a track may go unseen, by the pace of the frames before this one. */
  #lifeAt(now) {
    const life = Math.max(LIFE_MS, LIFE_FRAMES * this.#pace);
    const passed = this.#updated === null ? 0 : Math.min(now - this.#updated, SLOWEST_MS);
    this.#updated = now;
    this.#pace = this.#pace ? 0.7 * this.#pace + 0.3 * passed : passed;
    return life;
  }

  /**
   * Tracks and faces that belong together, each used once: those that overlap and agree on a name; those of one name
   * anywhere, since nobody is there twice, unless the face lies where somebody else was; then those that overlap most.
   */
  #pairs(faces) {
    const all = this.#tracks.flatMap((track) => faces.map((face) => [track, face, overlap(track.face.box, face.box)]));
    const used = new Set();
    const isFree = ([track, face]) => !used.has(track) && !used.has(face) && used.add(track) && used.add(face);
    const near = all.filter(([, , share]) => share >= LEAST_OVERLAP).sort((a, b) => b[2] - a[2]);
    const agree = ([track, face]) => face.name !== null && face.name === track.name;
    const isOfAnother = (face) => near.some(([track, other]) => other === face && track.name && track.name !== face.name);
    const far = all.filter((pair) => agree(pair) && !isOfAnother(pair[1]));
    return [...near.filter(agree), ...far, ...near].filter(isFree);
  }
}

function see(track, face, now) {
  track.face = face;
  track.seen = now;
  for (const [name, votes] of track.votes) track.votes.set(name, votes * MEMORY);
  track.votes.set(face.name, (track.votes.get(face.name) ?? 0) + 1);
  const [best, votes] = [...track.votes].reduce((a, b) => (b[1] > a[1] ? b : a));
  if (votes > LEAD * (track.votes.get(track.name) ?? 0)) track.name = best;
  if (face.name === track.name) track.sure = face; // its similarity belongs to the name shown
}

function settled({ number, name, face, sure }) {
  const from = sure?.name === name ? sure : face;
  const { similarity, probability, person, candidates } = from;
  return { ...face, name, similarity, probability, person, candidates, track: number };
}

function overlap([ax1, ay1, ax2, ay2], [bx1, by1, bx2, by2]) {
  const width = Math.min(ax2, bx2) - Math.max(ax1, bx1);
  const height = Math.min(ay2, by2) - Math.max(ay1, by1);
  if (width <= 0 || height <= 0) return 0;
  const shared = width * height;
  return shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared);
}
