// Whose a file or directory is. What another user of this machine has put in our way is not ours to trust: he may have
// written the key himself, or read what we write there. Root may do all of that anyway; and as root we serve directories
// that containers bring in under any number, so that nothing can be told by it.

export function isForeign(uid: number, ours: number = process.getuid?.() ?? 0): boolean {
  return ours !== 0 && uid !== ours && uid !== 0
}
