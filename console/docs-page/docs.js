// The page is served at {prefix}/docs/, so the document is found by a relative path. Nothing is asked of any other host.
SwaggerUIBundle({
  url: new URL('../admin/openapi.json', document.baseURI).href,
  dom_id: '#api',
  deepLinking: true,
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  supportedSubmitMethods: ['get', 'post', 'delete'],
  requestInterceptor(request) {
    if (request.method && request.method !== 'GET') request.headers['X-Realmate-Console'] = '1'
    return request
  },
})
