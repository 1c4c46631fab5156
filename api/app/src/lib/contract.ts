// Routes that the app uses and that `/openapi.json` does not have yet: web push.

/** Paths in the form of the generated ones. */
export interface ContractPaths {
  '/v1/push/key': {
    get: {
      parameters: object;
      responses: { 200: { content: { 'application/json': { key: string } } } };
    };
  };
  '/v1/push': {
    put: {
      parameters: object;
      requestBody: {
        content: {
          'application/json': {
            endpoint: string;
            keys: { p256dh: string; auth: string };
            locale: string;
          };
        };
      };
      responses: { 200: { content: { 'application/json': object } } };
    };
    delete: { parameters: object; responses: { 200: { content: { 'application/json': object } } } };
  };
}
