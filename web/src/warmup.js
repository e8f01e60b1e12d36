// Gather candidates once and throw them away.
//
// While Chromium enumerates the network interfaces for the first connection of a page, an offer that
// is rolled back can leave that connection without candidates for ever. Two members that join with
// media roll back often, so the enumeration is got over with before the first real connection.
export async function warmUp(timeoutMs = 1000) {
  let connection;
  try {
    connection = new RTCPeerConnection();
    connection.createDataChannel("warm-up");
    const gathered = new Promise((resolve) => {
      connection.onicegatheringstatechange = () =>
        connection.iceGatheringState === "complete" && resolve();
    });
    await connection.setLocalDescription();
    await Promise.race([gathered, new Promise((resolve) => setTimeout(resolve, timeoutMs))]);
  } catch {
    // joining will tell what is wrong
  } finally {
    connection?.close();
  }
}
