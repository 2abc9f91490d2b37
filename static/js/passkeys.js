// Says on the page what django-allauth's scripts would only write to the console: a passkey that was
// not given, because the person cancelled or the browser has none.
document.addEventListener("allauth.error", (event) => {
  const problem = document.getElementById("passkey-problem");
  if (!problem) return;
  event.preventDefault();
  problem.hidden = false;
});
