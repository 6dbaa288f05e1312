// Logs in to a site in a real browser, at the demo's page.
//
//   node browser.mjs PAGE API CHROMIUM [LINK]
//
// LINK is the control address of the line between the sites, at a secondary site: it is cut meanwhile.
import assert from 'node:assert/strict'
import { chromium } from 'playwright-core'

const [page, api, executablePath, link] = process.argv.slice(2)

const browser = await chromium.launch({
  executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
})
const context = await browser.newContext()
const tab = await context.newPage()
const errors = []
tab.on('pageerror', error => errors.push(String(error)))

const shows = async text => {
  await tab.waitForFunction(text => document.getElementById('who')?.textContent.includes(text), text, { timeout: 30_000 })
    .catch(async error => { throw new Error(`the page says "${await tab.textContent('#who')}" and not "${text}"`, { cause: error }) })
}

try {
  await tab.goto(page)
  await shows('401')
  await tab.click('#login')
  await tab.click('#as-vera')
  await shows('You are vera (observer)')

  assert.equal(tab.url(), page, 'the code stays in no address')
  assert.equal(await tab.evaluate(() => document.cookie), '', 'a script reads the cookie')
  const cookies = await context.cookies(api + '/auth')
  assert.equal(cookies.length, 1)
  assert.ok(cookies[0].httpOnly && cookies[0].secure && cookies[0].sameSite === 'Strict', JSON.stringify(cookies))
  const kept = await tab.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]))
  assert.ok(!kept.includes('eyJ'), 'a token is in the browser\'s storage')

  const refreshToken = async () => (await context.cookies(api + '/auth'))[0].value
  for (const refresh of [() => tab.click('#refresh'), () => tab.reload()]) {
    const before = await refreshToken()
    const answered = tab.waitForResponse(answer => answer.url() === api + '/auth/refresh' && answer.request().method() === 'POST')
    await refresh()
    assert.equal((await answered).status(), 200)
    assert.notEqual(await refreshToken(), before, 'a refresh token is used twice')
    await shows('You are vera')
  }

  // A page of another site may not use the session.
  const elsewhere = await context.newPage()
  await elsewhere.goto(page.replace('127.0.0.1', 'localhost'))
  const foreign = await elsewhere.evaluate(url => fetch(url, { method: 'POST', credentials: 'include' }).then(answer => answer.status, () => 'refused'), api + '/auth/refresh')
  assert.equal(foreign, 'refused')
  await elsewhere.close()

  if (link) {
    const line = change => fetch(link, { method: 'PUT', body: JSON.stringify(change), headers: { 'Content-Type': 'application/json' } })
    assert.ok((await line({ up: false })).ok)
    try {
      await tab.reload()
      await shows('You are vera')
    } finally {
      assert.ok((await line({ up: true })).ok)
    }
  }

  await tab.click('#logout')
  await shows('You are logged out')
  await tab.reload()
  await shows('401')
  await tab.click('#login')
  await tab.click('#cancel')
  await tab.waitForLoadState()
  assert.match(await tab.textContent('body'), /GitHub has not confirmed the login/)
  assert.deepEqual(errors, [])
  console.log('ok')
} finally {
  await browser.close()
}
